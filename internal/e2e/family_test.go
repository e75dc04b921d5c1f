package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

// TestAcrossFamilies: a machine without IPv4 and one without IPv6 have the hub's relay
// between them, one of them: the first has a relayed IPv4 address from the hub's IPv6
// one.
//
//	a ── IPv6 ── hub ── IPv4 ── NAT ── b
func TestAcrossFamilies(t *testing.T) {
	s := newSetup6(t)
	a, b := s.rig.Node(s.place("ipv6", "a")), s.rig.Node(s.place("port", "b"))
	s.connect(a, b, peer.PathRelayed)
	s.waitOneRelay(a, b)
	s.waitOneRelay(b, a)
	for from, to := range map[*Node]*Node{a: b, b: a} {
		const want = "relayed: one of the two has IPv4 alone and the other IPv6 alone"
		if p, err := from.Peer(s.ctx, to); err != nil || p.Why != want {
			t.Errorf("%s says %q, %v; want %q", from.Name, p.Why, err, want)
		}
	}
	s.wantRelay(a, s.hubHost.Addr6(), true)
	s.wantRelay(b, s.hubHost.Addr(), true)
}

// TestBothFamilies: a machine with both families has relays of both, each from the
// hub's address of that family.
func TestBothFamilies(t *testing.T) {
	s := newSetup6(t)
	a := s.rig.Node(s.place("ipv6-firewall", "a"))
	s.create(a)
	s.wantRelay(a, s.hubHost.Addr(), true)
	s.wantRelay(a, s.hubHost.Addr6(), false)
}

// wantRelay waits until a node has a relay of that family from a server.
func (s *setup) wantRelay(n *Node, server netip.Addr, ipv4 bool) {
	s.t.Helper()
	s.waitRelay(n, server, func(r tunnel.RelayStatus) bool {
		at, err := netip.ParseAddrPort(r.Address)
		return err == nil && at.Addr().Is4() == ipv4
	})
}

func (s *setup) waitRelay(n *Node, server netip.Addr, good func(tunnel.RelayStatus) bool) {
	s.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		st, err := n.Status(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range st.Self.Relays {
			if at, err := netip.ParseAddrPort(r.Server); err == nil && at.Addr() == server && good(r) {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s has the relays %+v", n.Name, st.Self.Relays)
		}
	}
}

// TestIPv4Lost: a machine that loses its IPv4 address reaches another that has nothing
// else, through the relay.
func TestIPv4Lost(t *testing.T) {
	s := newSetup6(t)
	a, b := s.rig.Node(s.place("ipv6-firewall", "a")), s.rig.Node(s.place("full", "b"))
	s.connect(a, b, peer.PathDirect)
	if err := lifetime(a.Host, netip.PrefixFrom(a.Host.Addr(), 24).String(), 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.waitPath(a, b, peer.PathRelayed, time.Now().Add(5*time.Second)); err != nil {
		t.Error(err)
	}
	s.wantRelay(a, s.hubHost.Addr6(), true)
	s.exchange(a, b, address(0), address(1))
}

// TestHubWithoutIPv4: its relay cannot be of IPv4, and is of IPv6.
func TestHubWithoutIPv4(t *testing.T) {
	s := newLab(t, time.Minute, "debug")
	s.startHub(natlab.Must(s.rig.Lab.PublicHost("hub", natlab.OnlyIPv6())))
	a, b := s.rig.Node(s.place("ipv6", "a")), s.rig.Node(s.place("ipv6", "b"))
	invite, err := a.Up(s.ctx, "--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String(), "--relay-only")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Up(s.ctx, invite, "--relay-only"); err != nil {
		t.Fatal(err)
	}
	s.reach(a, address(1))
	if err := s.waitPath(a, b, peer.PathRelayed, time.Now().Add(directGoal)); err != nil {
		t.Error(err)
	}
	s.wantRelay(a, s.hubHost.Addr6(), false)
}
