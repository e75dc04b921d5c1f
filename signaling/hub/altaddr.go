package hub

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/p2ptun/p2ptun/config"
)

// A second address lets nodes see all of how their NATs and firewalls behave (RFC
// 5780): whether what they do depends on the address of who is talked to, or on its
// port as well.

// withoutAlternates leaves the second addresses out of those that were found on the
// machine: members are told one as the hub, and the other for its tests. It leaves
// one in where there is no other, for alternates to refuse.
func withoutAlternates(public, alternate []netip.Addr) []netip.Addr {
	rest := slices.DeleteFunc(slices.Clone(public), func(a netip.Addr) bool {
		return slices.ContainsFunc(alternate, func(b netip.Addr) bool { return a == b.Unmap() })
	})
	if len(rest) == 0 {
		return public
	}
	return rest
}

// alternates says which second address stands beside which public one. Both have to
// be this machine's own: an answer that leaves from the one has to look so outside.
func (r *relay) alternates(given []netip.Addr) (map[netip.Addr]netip.Addr, error) {
	pairs := make(map[netip.Addr]netip.Addr)
	for _, alt := range given {
		alt = alt.Unmap()
		fail := func(why, hint string) error {
			return config.WithHint(fmt.Errorf("alternate address %v: %s", alt, why), hint)
		}
		i := slices.IndexFunc(r.public, func(a netip.Addr) bool { return a.Is4() == alt.Is4() })
		switch {
		case !alt.IsValid() || alt.IsUnspecified() || alt.IsMulticast() || alt.Zone() != "":
			return nil, fail("members cannot reach it", "give --alt-addr a second address of this machine that members reach")
		case slices.Contains(r.public, alt):
			return nil, fail("it is a public address already", "--alt-addr takes a second one, of the same family")
		case i < 0:
			return nil, fail("the hub has no public address of its family", "give one with --public-addr, or leave --alt-addr out")
		}
		public := r.public[i]
		_, twice := pairs[public]
		switch {
		case twice:
			return nil, fail("it is the second of its family", "give --alt-addr once for IPv4 and once for IPv6 at most")
		case !r.machine.has(alt) && !alt.IsLoopback():
			return nil, fail("this machine does not have it", "give it to an interface first, or leave --alt-addr out: nodes then learn less about their NATs")
		case r.binds[public] != public:
			return nil, fail(fmt.Sprintf("it stands beside %v, which is not on this machine or not what --turn-listen says", public),
				"leave --alt-addr out where a router maps the public address")
		case ordinary(public, false) && !ordinary(alt, false):
			return nil, fail(fmt.Sprintf("who reaches %v does not reach it", public), "give --alt-addr an address that members reach")
		}
		pairs[public] = alt
	}
	return pairs, nil
}
