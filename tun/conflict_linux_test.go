package tun

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestCheckConflicts(t *testing.T) {
	enterNamespace(t)
	eth0 := addVeth(t, "eth0", "10.77.3.1/24", "fd77::1/64")
	index := eth0.Attrs().Index
	gateway := net.IPv4(10, 77, 3, 254)
	for _, r := range []*netlink.Route{
		{Dst: ipNet("0.0.0.0/0"), Gw: gateway},
		{Dst: ipNet("10.0.0.0/8"), Gw: gateway},
		{Dst: ipNet("10.90.5.0/24"), Gw: gateway},
		{Dst: ipNet("10.91.0.0/16"), Table: 52},
		{Dst: ipNet("0.0.0.0/1"), Table: 52},
		{Dst: ipNet("10.92.0.0/16"), MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: index, Gw: gateway}, {LinkIndex: index, Gw: net.IPv4(10, 77, 3, 253)},
		}},
		{Dst: ipNet("10.93.0.0/16"), Type: unix.RTN_UNREACHABLE},
	} {
		if r.MultiPath == nil && r.Type == 0 {
			r.LinkIndex = index
		}
		must(t, netlink.RouteAdd(r))
	}
	peer := addVeth(t, "ppp0")
	must(t, netlink.AddrAdd(peer, &netlink.Addr{IPNet: ipNet("192.0.2.1/32"), Peer: ipNet("10.94.0.1/32")}))
	down := addVeth(t, "eth1", "10.95.3.1/24")
	must(t, netlink.LinkSetDown(down))

	tests := []struct {
		name    string
		network string
		own     string // name of our own interface
		want    string // part of the refusal, or "" for none
	}{
		{"connected inside", "10.77.0.2/16", "", "10.77.0.0/16 collides with 10.77.3.0/24, which is on interface eth0"},
		{"IPv6", "fd77::2/64", "", "fd77::/64 collides with fd77::/64, which is on interface eth0"},
		{"free", "10.80.0.2/16", "", ""},
		{"IPv6 free", "fd78::2/64", "", ""},
		{"own interface", "10.77.0.2/16", "eth0", ""},
		{"routed inside", "10.90.0.2/16", "", "10.90.5.0/24, which is routed through interface eth0"},
		{"another table", "10.91.7.2/24", "", "10.91.0.0/16, which is on interface eth0"},
		{"multipath", "10.92.0.2/16", "", "10.92.0.0/16, which is routed through interface eth0"},
		{"unreachable", "10.93.0.2/16", "", ""},
		{"address of an interface that is down", "10.95.0.2/16", "", "10.95.3.0/24, which is on interface eth1"},
		{"point to point", "10.94.0.2/16", "", "10.94.0.1/32, which is on interface ppp0"},
	}
	for _, tt := range tests {
		// No subtests: they would run on other threads.
		err := CheckConflicts([]netip.Prefix{netip.MustParsePrefix(tt.network)}, tt.own)
		switch {
		case tt.want != "":
			wantHint(t, err, tt.want, "--prefix")
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
