package peer

import (
	"net/netip"
	"slices"

	"github.com/p2ptun/p2ptun/peer/behavior"
)

// Mapping is how the NAT before a node maps its port to one outside (RFC 4787
// section 4.1).
type Mapping = behavior.Dependence

// The mappings. Those that depend on the destination are called symmetric, too:
// what a STUN server sees of the node is not what a peer would.
const (
	MappingUnknown                 = behavior.Unknown
	MappingNone                    = behavior.None // there is no NAT
	MappingEndpointIndependent     = behavior.EndpointIndependent
	MappingAddressDependent        = behavior.AddressDependent
	MappingAddressAndPortDependent = behavior.AddressAndPortDependent
)

// view is what one STUN server sees of this node's socket.
type view = behavior.View

// judge finds the mapping out of what several servers see. Of two families IPv4
// counts, which is the one that NATs are for.
func judge(views []view, own func(netip.AddrPort) bool) Mapping {
	for _, is4 := range []bool{true, false} {
		family := slices.DeleteFunc(slices.Clone(views), func(v view) bool { return v.Server.Addr().Is4() != is4 })
		if m := behavior.JudgeMapping(family, own); m != MappingUnknown {
			return m
		}
	}
	return MappingUnknown
}

// vicinity is what a node tells its peers of the network that it is in.
type vicinity struct {
	mapping Mapping
	blocked bool // nothing comes back over UDP
}

func (u *Underlay) vicinity() vicinity { return vicinity{u.Mapping(), u.blocked.Load()} }

// SetBlocked says whether UDP is blocked where this node is; peers are told.
func (u *Underlay) SetBlocked(is bool) {
	if u.blocked.Swap(is) != is {
		u.notify()
	}
}
