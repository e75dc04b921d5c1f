package tun

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestIsOverlay(t *testing.T) {
	tests := []struct {
		name, kind string
		want       bool
	}{
		{"wg0", "wireguard", true},
		{"office", "wireguard", true},
		{"wg0", "tuntap", true},
		{"tailscale0", "tuntap", true},
		{"ztabcdefgh", "tuntap", true},
		{"utun3", "tuntap", true},
		{"docker0", "bridge", true},
		{"docker_gwbridge", "bridge", true},
		{"veth12ab34c", "veth", true},
		{"virbr0", "bridge", true},
		{"br-0123456789ab", "bridge", true},
		{"br-lan", "bridge", false},
		{"br-0123456789xy", "bridge", false},
		{"br0", "bridge", false},
		{"eth0", "veth", false},
		{"eth0", "device", false},
		{"wlan0", "device", false},
		{"wlp3s0", "device", false},
		{"wwan0", "device", false},
		{"enp1s0", "", false},
		{"tun0", "tuntap", false},
	}
	for _, tt := range tests {
		if got := isOverlay(tt.name, tt.kind); got != tt.want {
			t.Errorf("isOverlay(%q, %q) = %v, want %v", tt.name, tt.kind, got, tt.want)
		}
	}
}

func TestOverlayPrefixes(t *testing.T) {
	enterNamespace(t)
	lan := addVeth(t, "eth0", "192.168.1.2/24")
	addVeth(t, "docker0", "172.17.0.1/16")
	vpn := addVeth(t, "wg0", "10.1.0.1/24", "fd05::1/64")
	for _, dst := range []string{"10.9.0.0/16", "0.0.0.0/1", "8000::/1"} {
		must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: vpn.Attrs().Index, Dst: ipNet(dst)}))
	}
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: lan.Attrs().Index, Dst: ipNet("10.10.0.0/16")}))
	got, err := OverlayPrefixes()
	must(t, err)
	slices.SortFunc(got, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	want := prefixes("10.1.0.0/24", "10.9.0.0/16", "172.17.0.0/16", "fd05::/64")
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
