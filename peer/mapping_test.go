package peer

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pion/transport/v5/vnet"
)

// TestJudge: IPv4 counts, whatever there is of IPv6.
func TestJudge(t *testing.T) {
	at := netip.MustParseAddrPort
	one, two, six := at("203.0.113.1:3478"), at("203.0.113.1:3479"), at("[2001:db8::1]:3478")
	m, n, me6 := at("198.51.100.9:1000"), at("198.51.100.9:1001"), at("[2001:db8::7]:7")
	own := func(a netip.AddrPort) bool { return a == me6 }
	views := []view{{Server: six, Mapped: me6}}
	if got := judge(views, own); got != MappingNone {
		t.Errorf("IPv6 alone: %q", got)
	}
	if got := judge(append(views, view{Server: one, Mapped: m}, view{Server: two, Mapped: n}), own); got != MappingAddressAndPortDependent {
		t.Errorf("both families: %q", got)
	}
}

var secondSTUN = netip.MustParseAddrPort("203.0.113.1:3479")

// secondPort gives the hub another port, and tells nodes of it.
func (l *lab) secondPort(nodes ...*node) {
	l.t.Helper()
	s := l.serveTURN(l.hub, secondSTUN)
	l.stops = append(l.stops, func() { l.must(s.Close()) })
	for _, n := range nodes {
		n.underlay.SetSTUN([]netip.AddrPort{secondSTUN})
	}
}

func TestMapping(t *testing.T) {
	for _, tt := range []struct {
		name string
		nat  *vnet.NATType
		want Mapping
	}{
		{"public", nil, MappingNone},
		{"port-restricted", natPort, MappingEndpointIndependent},
		{"symmetric", natSymmetric, MappingAddressAndPortDependent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				n := l.behind(tt.nat)
				l.secondPort(n)
				l.until(time.Second, string(tt.want), func() bool { return n.underlay.Mapping() == tt.want })
			})
		})
	}
}

// TestMappingIsAskedAgain: what was found says nothing about another network. A
// server that is silent takes nothing back.
func TestMappingIsAskedAgain(t *testing.T) {
	inLab(t, func(l *lab) {
		n := l.behind(natSymmetric)
		l.lose(func(_, to netip.AddrPort, _ []byte) bool { return to == secondSTUN })
		l.secondPort(n)
		time.Sleep(10 * time.Second)
		if m := n.underlay.Mapping(); m != MappingUnknown {
			t.Errorf("%q with one server, want nothing", m)
		}
		l.lose(nil)
		l.until(mapAgain, "found", func() bool { return n.underlay.Mapping() == MappingAddressAndPortDependent })
		l.lose(func(_, to netip.AddrPort, _ []byte) bool { return to.Addr() == hubAddr.Addr() })
		n.underlay.SetServers(nil)
		time.Sleep(10 * time.Second)
		if m := n.underlay.Mapping(); m != MappingAddressAndPortDependent {
			t.Errorf("%q when the servers fall silent", m)
		}
		n.underlay.Changed("another network")
		if m := n.underlay.Mapping(); m != MappingUnknown {
			t.Errorf("%q in another network, of which nothing is known", m)
		}
	})
}
