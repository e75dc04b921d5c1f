package peer

import (
	"net/netip"
	"slices"
)

// Mapping is how the NAT before a node maps its port to one outside (RFC 4787
// section 4.1).
type Mapping string

// The mappings. Those that depend on the destination are called symmetric, too:
// what a STUN server sees of the node is not what a peer would.
const (
	MappingUnknown                 Mapping = ""
	MappingNone                    Mapping = "none" // there is no NAT
	MappingEndpointIndependent     Mapping = "endpoint-independent"
	MappingAddressDependent        Mapping = "address-dependent"
	MappingAddressAndPortDependent Mapping = "address-and-port-dependent"
)

// PerDestination says whether the mapping is known to be another for each
// destination.
func (m Mapping) PerDestination() bool {
	return m == MappingAddressDependent || m == MappingAddressAndPortDependent
}

// known returns m, or unknown for one that is none of the above: a peer may say
// anything.
func (m Mapping) known() Mapping {
	switch m {
	case MappingNone, MappingEndpointIndependent, MappingAddressDependent, MappingAddressAndPortDependent:
		return m
	}
	return MappingUnknown
}

// view is what one STUN server sees of this node's socket.
type view struct {
	server netip.AddrPort
	mapped netip.AddrPort
	local  netip.Addr // the address it answered to; zero: not known
}

// judge finds the mapping out of what several servers see (RFC 5780 section 4.3).
// Of two ports of one address it finds a mapping that depends on ports; whether it
// depends on addresses alone, servers at other addresses show, where there are
// some. own says whether an address is this node's. Of two families IPv4 counts,
// which is the one that NATs are for. It is pure.
func judge(views []view, own func(netip.AddrPort) bool) Mapping {
	for _, is4 := range []bool{true, false} {
		family := slices.DeleteFunc(slices.Clone(views), func(v view) bool { return v.server.Addr().Is4() != is4 })
		if m := judgeFamily(family, own); m != MappingUnknown {
			return m
		}
	}
	return MappingUnknown
}

func judgeFamily(views []view, own func(netip.AddrPort) bool) Mapping {
	if slices.ContainsFunc(views, func(v view) bool { return own(v.mapped) }) {
		return MappingNone
	}
	verdict := MappingUnknown
	for i, v := range views {
		for _, w := range views[:i] {
			switch {
			case v.local != w.local || v.server == w.server:
				// From another of this node's addresses it may be another NAT.
			case v.mapped == w.mapped:
				verdict = worse(verdict, MappingEndpointIndependent)
			case v.server.Addr() == w.server.Addr():
				verdict = worse(verdict, MappingAddressAndPortDependent)
			default:
				verdict = worse(verdict, MappingAddressDependent)
			}
		}
	}
	return verdict
}

// worse is the mapping that depends on more.
func worse(a, b Mapping) Mapping {
	order := []Mapping{MappingUnknown, MappingEndpointIndependent, MappingAddressDependent, MappingAddressAndPortDependent}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}
