package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
)

// TestNAT64: a machine in a network of IPv6 alone, with a NAT64, and one with IPv4
// alone reach each other directly, and over the relay of a hub that has IPv4 alone.
//
//	a ── IPv6 ── NAT64 and NAT ─┬─ core (IPv4) ─┬─ NAT ── b
//	                           hub
func TestNAT64(t *testing.T) {
	for _, tt := range []struct {
		prefix, b string
		behavior  natlab.Behavior
		want      peer.PathKind
	}{
		{"2001:db8:64::/96", "port", natlab.PortRestricted, peer.PathDirect},
		{"2001:db8:64::/64", "public", natlab.Symmetric, peer.PathDirect},
		{"2001:db8:64::/96", "symmetric", natlab.PortRestricted, peer.PathRelayed},
	} {
		t.Run(tt.b+" "+tt.prefix, func(t *testing.T) {
			s := newSetup(t)
			a := s.rig.Node(s.nat64("a", tt.prefix, tt.behavior))
			b := s.rig.Node(s.place(tt.b, "b"))
			s.connect(a, b, tt.want)
			p, err := a.Peer(s.ctx, b)
			if err != nil {
				t.Fatal(err)
			}
			if at := netip.MustParseAddrPort(p.Remote.Address).Addr(); !at.Is4() {
				t.Errorf("b is at %v, want its IPv4 address", at)
			}
			if tt.want == peer.PathRelayed {
				s.waitOneRelay(a, b)
			}
			s.wantRelay(a, s.hubHost.Addr(), true)
		})
	}
}

// nat64 places a host in a network of IPv6 alone, whose NAT64 has this prefix.
func (s *setup) nat64(name, prefix string, b natlab.Behavior) *natlab.Host {
	s.t.Helper()
	if err := natlab.NAT64Available(); err != nil {
		s.t.Skip(err)
	}
	home := natlab.Must(s.rig.Lab.NAT(name+"-home", b, natlab.NAT64(netip.MustParsePrefix(prefix))))
	return natlab.Must(home.Host(name))
}

// TestNAT64OwnRelay: a relay that this machine is told of by its IPv4 address.
func TestNAT64OwnRelay(t *testing.T) {
	s := newSetup(t)
	server, _ := s.coturn("coturn", false)
	a := s.rig.Node(s.nat64("a", "2001:db8:64::/96", natlab.PortRestricted))
	_, err := a.Up(s.ctx, "--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String(),
		"--relay", fmt.Sprintf("turn:us%%40er:pass@%s:3479", server.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	s.wantRelay(a, server.Addr(), true)
}

// TestNAT64WithoutUDP: where no UDP gets out, the hub's relay is reached over TCP, by
// its IPv4 address.
func TestNAT64WithoutUDP(t *testing.T) {
	s := newSetup(t)
	blocked := natlab.PortRestricted
	blocked.Firewall = natlab.NoUDP
	a, b := s.rig.Node(s.nat64("a", "2001:db8:64::/96", blocked)), s.rig.Node(s.place("port", "b"))
	s.connect(a, b, peer.PathRelayed)
}

// TestNAT64Pair: in two such networks the native way is the better one.
func TestNAT64Pair(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.nat64("a", "2001:db8:64::/96", natlab.PortRestricted))
	b := s.rig.Node(s.nat64("b", "2001:db8:65::/96", natlab.PortRestricted))
	s.connect(a, b, peer.PathDirect)
	if err := s.waitNominated(a, b); err != nil {
		t.Fatal(err)
	}
	s.want6(a, b)
	s.want6(b, a)
}

// TestMoveToNAT64: a machine that goes from a home with IPv4 to a network without goes
// on, and back again.
func TestMoveToNAT64(t *testing.T) {
	s := newSetup(t)
	a, b := s.rig.Node(s.nat64("a", "2001:db8:64::/96", natlab.PortRestricted)), s.rig.Node(s.place("port", "b"))
	s.meet(a, b)
	home := natlab.Must(s.rig.Lab.NAT("other", natlab.PortRestricted))
	second, err := a.Host.AddUplink(home)
	if err != nil {
		t.Fatal(err)
	}
	s.survive(a, b, change{"IPv4 has come", func() error { return a.Host.DefaultVia(second) }})
	s.survive(a, b, change{"and is gone", second.Unplug})
	if err := s.waitPath(a, b, peer.PathDirect, time.Now().Add(5*time.Second)); err != nil {
		t.Error(err)
	}
}
