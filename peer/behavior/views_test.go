package behavior

import (
	"net/netip"
	"testing"
)

func TestJudgeMapping(t *testing.T) {
	at := netip.MustParseAddrPort
	one, two, far := at("203.0.113.1:3478"), at("203.0.113.1:3479"), at("203.0.113.2:3478")
	six := at("[2001:db8::1]:3478")
	m, n := at("198.51.100.9:1000"), at("198.51.100.9:1001")
	me, me6 := at("192.168.1.2:7"), at("[2001:db8::7]:7")
	own := func(a netip.AddrPort) bool { return a == me || a == me6 }
	lan, other := me.Addr(), netip.MustParseAddr("192.168.2.2")
	for _, tt := range []struct {
		name  string
		views []View
		want  Dependence
	}{
		{"nobody has answered", nil, Unknown},
		{"one server shows no difference", []View{{one, m, lan}}, Unknown},
		{"the same server twice", []View{{one, m, lan}, {one, n, lan}}, Unknown},
		{"no NAT", []View{{one, me, lan}}, None},
		{"two ports see the same", []View{{one, m, lan}, {two, m, lan}}, EndpointIndependent},
		{"two addresses see the same", []View{{one, m, lan}, {far, m, lan}}, EndpointIndependent},
		{"two ports see different ones", []View{{one, m, lan}, {two, n, lan}}, AddressAndPortDependent},
		{"another address of the NAT", []View{{one, m, lan}, {two, at("198.51.100.8:1000"), lan}}, AddressAndPortDependent},
		{"addresses alone matter", []View{{one, m, lan}, {two, m, lan}, {far, n, lan}}, AddressDependent},
		{"ports matter, too", []View{{far, m, lan}, {one, n, lan}, {two, m, lan}}, AddressAndPortDependent},
		{"two links of this machine", []View{{one, m, lan}, {two, n, other}}, Unknown},
		{"IPv6 alone", []View{{six, me6, netip.Addr{}}}, None},
	} {
		if got := JudgeMapping(tt.views, own); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
