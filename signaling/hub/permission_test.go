package hub

import (
	"net"
	"net/netip"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

func TestForms(t *testing.T) {
	const (
		never = iota
		private
		always
	)
	tests := []struct {
		addr string
		want int
	}{
		{"192.0.2.1", always}, {"198.51.100.7", always}, {"203.0.113.200", always}, {"2001:db8::1", always}, // documentation
		{"8.8.8.8", always}, {"100.63.255.255", always}, {"100.128.0.1", always}, {"172.32.0.1", always}, {"2606:4700::1111", always},
		{"10.0.0.1", private}, {"172.16.0.1", private}, {"172.31.255.255", private}, {"192.168.1.1", private},
		{"100.64.0.1", private}, {"100.127.255.255", private}, {"fc00::1", private}, {"fd12:3456::1", private},
		{"0.0.0.0", never}, {"0.1.2.3", never}, {"127.0.0.1", never}, {"127.255.0.1", never},
		{"169.254.1.1", never}, {"169.254.169.254", never}, {"100.100.100.200", never}, {"fd00:ec2::254", never},
		{"224.0.0.1", never}, {"239.255.255.250", never}, {"240.0.0.1", never}, {"255.255.255.255", never},
		{"192.0.0.1", never}, {"192.88.99.1", never}, {"198.18.0.1", never},
		{"::", never}, {"::1", never}, {"::10.0.0.1", never}, {"::ffff:8.8.8.8", never}, {"::ffff:10.0.0.1", never},
		{"64:ff9b::a00:1", never}, {"64:ff9b::808:808", never}, {"64:ff9b:1::1", never},
		{"2002:a00:1::1", never}, {"2002:808:808::1", never}, {"2001::1", never},
		{"fe80::1", never}, {"fe80::1%eth0", never}, {"fec0::1", never}, {"ff02::1", never}, {"100::1", never},
	}
	for _, tt := range tests {
		a := netip.MustParseAddr(tt.addr)
		if got := ordinary(a, false); got != (tt.want == always) {
			t.Errorf("%s on a public hub: %v", tt.addr, got)
		}
		if got := ordinary(a, true); got != (tt.want != never) {
			t.Errorf("%s on a LAN hub: %v", tt.addr, got)
		}
	}
	if ordinary(netip.Addr{}, true) {
		t.Error("no address at all is ordinary")
	}
}

// The permission handler allows what a member of the client's own network
// comes from, and the hub's relays; every other address is refused, in the
// form that pion/turn hands over.
func TestPermit(t *testing.T) {
	h := startHub(t, Config{})
	network, other := config.NewNetworkKey().Public(), config.NewNetworkKey().Public()
	forbidden := []string{
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1",
		"127.0.0.2", "::1", "169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1", "0.0.0.0", "::",
		"::ffff:203.0.113.5", "::ffff:127.0.0.1", "64:ff9b::cb00:7105", "2002:cb00:7105::1",
	}
	h.admitted.allowPrivate = false
	for _, a := range append(forbidden, "203.0.113.5", "2001:db8::5") {
		h.admitted.hold(network, netip.MustParseAddr(a)) // even if a member came from there
	}
	h.admitted.hold(other, netip.MustParseAddr("203.0.113.6"))

	l := h.relay.listeners[0]
	src := &net.UDPAddr{IP: net.IPv4(203, 0, 113, 1).To4(), Port: 4000}
	l.created(src, l.LocalAddr(), "UDP", identity{network, config.NodeKey{1}}.userID(), realm, src, 0)
	defer l.deleted(src, l.LocalAddr(), "UDP", "", realm)

	permit := func(a string) bool { return l.permit(src, netip.MustParseAddr(a).AsSlice()) }
	for _, a := range []string{"203.0.113.5", "2001:db8::5", "203.0.113.1", "127.0.0.1"} {
		if !permit(a) {
			t.Errorf("%s is refused", a)
		}
	}
	for _, a := range append(forbidden, "203.0.113.6", "203.0.113.7", "8.8.8.8", "2001:db8::6") {
		if permit(a) {
			t.Errorf("%s is allowed", a)
		}
	}
	if l.permit(&net.UDPAddr{IP: src.IP, Port: 4001}, net.IPv4(203, 0, 113, 5).To4()) {
		t.Error("a client without an allocation is allowed")
	}
	if l.permit(src, nil) || l.permit(src, net.IP{1, 2, 3}) {
		t.Error("no address is allowed")
	}
	// An own address that no relay is announced at.
	own := addrSet{netip.MustParseAddr("203.0.113.5"): {}}
	h.relay.setMachine(own)
	if permit("203.0.113.5") {
		t.Error("an address of the machine is allowed")
	}
}

// What passes for a permission elsewhere is stopped at the packet.
func TestForbiddenPackets(t *testing.T) {
	h := startHub(t, Config{PublicAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	c := &relayConn{relay: h.relay, network: config.NewNetworkKey().Public(), share: &share{meter: newMeter(DefaultRelayRate)}}
	for _, a := range []string{"10.1.2.3", "127.0.0.1", "169.254.169.254", "224.0.0.1", "::ffff:192.0.2.1", "64:ff9b::a00:1", "fe80::1"} {
		before := h.drops.forbidden.Load() + h.drops.toHub.Load()
		n, err := c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(a), 53)))
		if n != 1 || err != nil || h.drops.forbidden.Load()+h.drops.toHub.Load() != before+1 {
			t.Errorf("%s: %d bytes, %v: not dropped", a, n, err)
		}
	}
}
