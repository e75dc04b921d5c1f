package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func TestHostCandidates(t *testing.T) {
	many := make([]string, 15)
	for i := range many {
		many[i] = fmt.Sprintf("192.0.2.%d", 1+i)
	}
	tests := []struct {
		name        string
		addrs, want []string
	}{
		{"IPv6 first, else as given", []string{"192.0.2.9", "2001:db8::9", "192.0.2.1", "2001:db8::1"}, []string{"2001:db8::9", "2001:db8::1", "192.0.2.9", "192.0.2.1"}},
		{"twice", []string{"192.0.2.1", "::ffff:192.0.2.1"}, []string{"192.0.2.1"}},
		{"unusable", []string{"127.0.0.1", "::1", "fe80::1", "fe80::1%eth0", "0.0.0.0", "224.0.0.1"}, nil},
		{"refused", []string{"10.77.0.1", "10.78.0.1"}, []string{"10.78.0.1"}},
		{"too many", append(many, "2001:db8::1"), append([]string{"2001:db8::1"}, many[:maxHosts]...)},
	}
	for _, tt := range tests {
		u := NewUnderlay(UnderlayConfig{Port: 7, Allow: func(a netip.Addr) bool { return !netip.MustParsePrefix("10.77.0.0/16").Contains(a) }})
		var addrs []netip.Addr
		for _, s := range tt.addrs {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
		u.SetAddresses(addrs)
		var got []string
		for _, c := range candidates(u) {
			if c.Type != Host || c.Addr.Port() != 7 || c.Base != c.Addr {
				t.Errorf("%s: %+v", tt.name, c)
			}
			got = append(got, c.Addr.Addr().String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestWatchersAreToldOfChangesOnly(t *testing.T) {
	u := NewUnderlay(UnderlayConfig{Port: 7})
	told := 0
	p := &Peer{}
	u.watch(p, func() { told++ })
	a := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	for _, step := range []struct {
		do   func()
		want int
	}{
		{func() { u.SetAddresses(a) }, 1},
		{func() { u.SetAddresses(a) }, 1},
		{func() { u.SetServers([]Server{{Addr: hubAddr}}) }, 2},
		{func() { u.setReflexive((*u.servers.Load())[hubAddr], reflexive{mapped: testRemote}) }, 3},
		{func() { u.setReflexive((*u.servers.Load())[hubAddr], reflexive{mapped: testRemote}) }, 3},
		{func() { u.setReflexive(&server{}, reflexive{}) }, 3}, // no longer in use
		{func() { u.unwatch(p); u.SetAddresses(nil) }, 3},
	} {
		step.do()
		if told != step.want {
			t.Errorf("told %d times, want %d", told, step.want)
		}
	}
}

// A reflexive address goes with the local address that it was learned from, but
// not with one that never was a candidate: the kernel's choice for IPv6 changes.
func TestReflexiveAddressGoesWithItsBase(t *testing.T) {
	local, next, other := netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("192.168.1.3"), netip.MustParseAddr("192.168.1.9")
	for _, tt := range []struct {
		name  string
		base  netip.Addr
		after []netip.Addr
		want  bool
	}{
		{"renumbered", local, []netip.Addr{next}, false},
		{"no address left", local, nil, false},
		{"one more", local, []netip.Addr{local, next}, true},
		{"no candidate", other, []netip.Addr{next}, true},
		{"not known", netip.Addr{}, []netip.Addr{next}, true},
	} {
		u := NewUnderlay(UnderlayConfig{Port: 7})
		u.SetAddresses([]netip.Addr{local})
		u.SetServers([]Server{{Addr: hubAddr}})
		s := (*u.servers.Load())[hubAddr]
		u.setReflexive(s, reflexive{mapped: testRemote, base: tt.base})
		u.settle(s)
		u.SetAddresses(tt.after)
		offered := slices.ContainsFunc(candidates(u), func(c Candidate) bool { return c.Type == ServerReflexive })
		if _, all := u.Gathered(); offered != tt.want || all != tt.want {
			t.Errorf("%s: offered %v, all are there %v; want %v", tt.name, offered, all, tt.want)
		}
	}
}

// Whoever names the servers decides where this node sends to.
func TestServersAreBounded(t *testing.T) {
	u := NewUnderlay(UnderlayConfig{
		Socket: socketFunc(func([]byte, netip.Addr, netip.AddrPort) error { return nil }), Port: 1,
		Allow: func(a netip.Addr) bool { return a != netip.MustParseAddr("192.0.2.66") },
	})
	servers := []Server{
		{Addr: netip.MustParseAddrPort("127.0.0.1:3478")}, {Addr: netip.MustParseAddrPort("224.0.0.1:3478")},
		{Addr: netip.MustParseAddrPort("192.0.2.66:3478")}, {Addr: netip.MustParseAddrPort("192.0.2.1:0")},
	}
	for i := range 100 {
		servers = append(servers, Server{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 3478)})
	}
	u.SetServers(servers)
	taken := *u.servers.Load()
	if len(taken) != maxServers {
		t.Errorf("%d servers, want %d", len(taken), maxServers)
	}
	for addr := range taken {
		if addr.Addr().As4()[0] != 198 {
			t.Errorf("took the server %v", addr)
		}
	}
}

// What lies in another overlay is no way to a peer, either way; a server may be there.
func TestForeign(t *testing.T) {
	u := NewUnderlay(UnderlayConfig{Port: 7})
	foreign := netip.MustParseAddr("172.17.0.9")
	u.SetForeign([]netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")})
	u.SetAddresses([]netip.Addr{foreign, netip.MustParseAddr("192.168.1.2")})
	if got := candidates(u); len(got) != 1 || got[0].Addr.Addr() == foreign {
		t.Errorf("offered: %+v", got)
	}
	line := "candidate:1 1 udp 2130706431 172.17.0.9 41000 typ host"
	if _, _, err := parseCandidate(line, u.mayBe); err == nil {
		t.Error("a peer's candidate there is taken")
	}
	u.SetServers([]Server{{Addr: netip.AddrPortFrom(foreign, 3478)}})
	if got := u.Relays(); len(got) != 1 {
		t.Errorf("servers %+v", got)
	}
	u.SetForeign(nil)
	if _, _, err := parseCandidate(line, u.mayBe); err != nil {
		t.Error(err)
	}
}

// A hub may name thousands of servers, and places where none can be.
func TestNamedServers(t *testing.T) {
	u := NewUnderlay(UnderlayConfig{Port: 7, Allow: func(a netip.Addr) bool { return a != netip.MustParseAddr("10.77.0.1") }})
	named := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:22"), netip.MustParseAddrPort("10.77.0.1:3478"), netip.MustParseAddrPort("[::ffff:192.0.2.1]:1"),
		netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("255.255.255.255:1"), netip.MustParseAddrPort("[fe80::1]:1"),
	}
	if got := u.Servers(named); len(got) != 1 || got[0] != named[3] {
		t.Errorf("%v", got)
	}
	for port := range uint16(3000) {
		named = append(named, netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), port+1))
	}
	if got := u.Servers(named); len(got) != maxMapServers {
		t.Errorf("%d servers", len(got))
	}
}
