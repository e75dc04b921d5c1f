package behavior

import (
	"net/netip"
	"slices"
)

// View is what one STUN server sees of a socket.
type View struct {
	Server netip.AddrPort
	Mapped netip.AddrPort
	Local  netip.Addr // the address it answered to; zero: not known
}

// JudgeMapping finds the mapping out of what several servers of one family see of a
// socket (RFC 5780 section 4.3). Of two ports of one address it finds a mapping that
// depends on ports; whether it depends on addresses alone, servers at other addresses
// show, where there are some. own says whether an address is the socket's. It is pure.
func JudgeMapping(views []View, own func(netip.AddrPort) bool) Dependence {
	if slices.ContainsFunc(views, func(v View) bool { return own(v.Mapped) }) {
		return None
	}
	verdict := Unknown
	for i, v := range views {
		for _, w := range views[:i] {
			switch {
			case v.Local != w.Local || v.Server == w.Server:
				// From another of this machine's addresses it may be another NAT.
			case v.Mapped == w.Mapped:
				verdict = worse(verdict, EndpointIndependent)
			case v.Server.Addr() == w.Server.Addr():
				verdict = worse(verdict, AddressAndPortDependent)
			default:
				verdict = worse(verdict, AddressDependent)
			}
		}
	}
	return verdict
}

// worse is the mapping that depends on more.
func worse(a, b Dependence) Dependence {
	order := []Dependence{Unknown, EndpointIndependent, AddressDependent, AddressAndPortDependent}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}
