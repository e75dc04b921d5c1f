package e2e

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

// TestIPv6Pairs: pairs that are direct over IPv6, where IPv4 is not to be had or
// would need a relay. Their firewalls let in answers alone.
//
//	a ── firewall (IPv6) ─┬─ core ─┬─ firewall (IPv6) ── b
//	   ╰ symmetric NAT ───╯        ╰─── symmetric NAT ─╯
func TestIPv6Pairs(t *testing.T) {
	for _, p := range [][2]string{{"ipv6-firewall", "ipv6-firewall"}, {"ipv6", "ipv6-firewall"}, {"ipv6", "ipv6"}} {
		t.Run(p[0]+"-"+p[1], func(t *testing.T) {
			s := newSetup6(t)
			a, b := s.rig.Node(s.place(p[0], "a")), s.rig.Node(s.place(p[1], "b"))
			s.connect(a, b, peer.PathDirect)
			s.want6(a, b)
			s.want6(b, a)
		})
	}
}

// want6 checks that a node reaches another at its stable IPv6 address.
func (s *setup) want6(from, to *Node) {
	s.t.Helper()
	p, err := from.Peer(s.ctx, to)
	if err != nil {
		s.t.Fatal(err)
	}
	if at := netip.MustParseAddrPort(p.Remote.Address).Addr(); at != to.Host.Addr6() || p.Remote.Type != peer.Host {
		s.t.Errorf("%s reaches %s at %v (%s), want its IPv6 address %v", from.Name, to.Name, at, p.Remote.Type, to.Host.Addr6())
	}
}

// TestTemporaryAddresses: peers are told the stable address of a machine whose kernel
// prefers temporary ones, and no other.
func TestTemporaryAddresses(t *testing.T) {
	s := newSetup6(t)
	home := natlab.Must(s.rig.Lab.NAT("home", natlab.Symmetric, natlab.IPv6()))
	a := s.rig.Node(natlab.Must(home.Host("a", natlab.TemporaryAddrs())))
	b := s.rig.Node(s.place("ipv6-firewall", "b"))
	s.connect(a, b, peer.PathDirect)
	s.want6(b, a)
	s.want6(a, b)
	var pairs []string
	for _, pair := range s.pairs(b, a) {
		at := netip.MustParseAddrPort(pair.Remote.Address).Addr()
		pairs = append(pairs, pair.Remote.Address)
		if home.LAN6().Contains(at) && at != a.Host.Addr6() {
			t.Errorf("b checks a at the temporary address %v (%s)", at, pair.Remote.Type)
		}
	}
	if len(pairs) == 0 {
		t.Error("b has no pairs to look at")
	}
	t.Log(pairs)
}

// pairs is what one node checks of another.
func (s *setup) pairs(from, to *Node) []tunnel.PairStatus {
	s.t.Helper()
	var st tunnel.Status
	if err := json.Unmarshal([]byte(s.must(from, "status", to.Name, "--json")), &st); err != nil {
		s.t.Fatal(err)
	}
	p, err := Find(&st, from, to)
	if err != nil {
		s.t.Fatal(err)
	}
	return p.Pairs
}

// TestRenumbered: the provider gives a home another prefix. The old one works for a
// while, and is then gone; data does not stop either time.
func TestRenumbered(t *testing.T) {
	s := newSetup6(t)
	slow := natlab.Through(natlab.Link{Delay: 20 * time.Millisecond})
	home := natlab.Must(s.rig.Lab.NAT("home", natlab.Symmetric, natlab.IPv6(), slow))
	a, b := s.rig.Node(natlab.Must(home.Host("a"))), s.rig.Node(s.place("ipv6-firewall", "b"))
	s.meet(a, b)
	s.want6(b, a)
	s.survive(a, b,
		change{"another prefix", home.Renumber6},
		change{"the old one gone", home.Withdraw6},
		change{"another at once", func() error { return errors.Join(home.Renumber6(), home.Withdraw6()) }},
	)
	s.settle(a, b)
	s.want6(b, a)
	s.want6(a, b)
}
