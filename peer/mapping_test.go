package peer

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pion/transport/v5/vnet"
)

func TestJudge(t *testing.T) {
	at := netip.MustParseAddrPort
	one, two, far := at("203.0.113.1:3478"), at("203.0.113.1:3479"), at("203.0.113.2:3478")
	six, sixTwo := at("[2001:db8::1]:3478"), at("[2001:db8::1]:3479")
	m, n := at("198.51.100.9:1000"), at("198.51.100.9:1001")
	me, me6 := at("192.168.1.2:7"), at("[2001:db8::7]:7")
	own := func(a netip.AddrPort) bool { return a == me || a == me6 }
	lan, other := me.Addr(), netip.MustParseAddr("192.168.2.2")
	for _, tt := range []struct {
		name  string
		views []view
		want  Mapping
	}{
		{"nobody has answered", nil, MappingUnknown},
		{"one server shows no difference", []view{{one, m, lan}}, MappingUnknown},
		{"the same server twice", []view{{one, m, lan}, {one, n, lan}}, MappingUnknown},
		{"no NAT", []view{{one, me, lan}}, MappingNone},
		{"two ports see the same", []view{{one, m, lan}, {two, m, lan}}, MappingEndpointIndependent},
		{"two addresses see the same", []view{{one, m, lan}, {far, m, lan}}, MappingEndpointIndependent},
		{"two ports see different ones", []view{{one, m, lan}, {two, n, lan}}, MappingAddressAndPortDependent},
		{"another address of the NAT", []view{{one, m, lan}, {two, at("198.51.100.8:1000"), lan}}, MappingAddressAndPortDependent},
		{"addresses alone matter", []view{{one, m, lan}, {two, m, lan}, {far, n, lan}}, MappingAddressDependent},
		{"ports matter, too", []view{{far, m, lan}, {one, n, lan}, {two, m, lan}}, MappingAddressAndPortDependent},
		{"two links of this machine", []view{{one, m, lan}, {two, n, other}}, MappingUnknown},
		{"IPv6 alone", []view{{six, me6, zeroAddr}}, MappingNone},
		{"IPv4 counts", []view{{six, me6, zeroAddr}, {sixTwo, me6, zeroAddr}, {one, m, lan}, {two, n, lan}}, MappingAddressAndPortDependent},
	} {
		if got := judge(tt.views, own); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
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
