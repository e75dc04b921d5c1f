package e2e

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
)

// TestRelayIPv6: a hub that is reached over IPv6 relays over it, for packets as
// long as that leaves room for, on links of 1280 bytes as well.
func TestRelayIPv6(t *testing.T) {
	for link, mtu := range map[int]int{1500: 1416, 1280: 1196} {
		t.Run(strconv.Itoa(link), func(t *testing.T) { relayIPv6(t, natlab.Link{MTU: link}, mtu) })
	}
}

func relayIPv6(t *testing.T, link natlab.Link, mtu int) {
	s := newSetup(t)
	home := natlab.Must(s.rig.Lab.NAT("home", natlab.PortRestricted))
	lan := func(name string) *natlab.Host { return natlab.Must(home.Host(name, natlab.Through(link))) }
	hub, hostA, hostB := lan("hub6"), lan("a"), lan("b")
	for host, addr := range map[*natlab.Host]string{hub: "fd01::9/64", hostA: "fd01::1/64", hostB: "fd01::2/64"} {
		if err := host.AddIPv6(netip.MustParsePrefix(addr)); err != nil {
			t.Fatal(err)
		}
	}
	h, err := s.rig.StartHub(s.ctx, hub, "--public-addr", "fd01::9")
	if err != nil {
		t.Fatal(err)
	}
	a, b := s.rig.Node(hostA), s.rig.Node(hostB)
	invite, err := a.Up(s.ctx, "--new", "home", "--hub", h.Link, "--prefix", prefix.String(), "--relay-only")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Up(s.ctx, invite, "--relay-only"); err != nil {
		t.Fatal(err)
	}
	if err := a.FirstPing(s.ctx, address(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.waitPath(a, b, peer.PathRelayed, time.Now().Add(directGoal)); err != nil {
		t.Fatal(err)
	}
	s.exchange(a, b, address(0), address(1))
	s.waitMTU(a, b, mtu)
	s.waitMTU(b, a, mtu)
	p, err := a.Peer(s.ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range p.Addresses {
		s.checkSegments(a, b, addr, mtu)
	}
	if !strings.HasPrefix(p.Remote.Address, "[fd01::") {
		t.Errorf("b is at %s, want an IPv6 address", p.Remote.Address)
	}
}
