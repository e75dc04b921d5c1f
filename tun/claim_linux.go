package tun

import (
	"fmt"
	"net/netip"

	"github.com/p2ptun/p2ptun/config"
)

// claim is a range of addresses that the host already uses.
type claim struct {
	prefix netip.Prefix
	link   string // interface name

	// routed: the range lies behind a gateway, not on the link itself.
	routed bool
}

// minClaimBits separates networks from ways out to everywhere: VPNs send the
// whole internet through themselves as 0.0.0.0/1, 2000::/3 and the like, and
// those stand as little in the way as a default route does.
const minClaimBits = 8

// conflicts says whether the network cannot work beside c. Neighbours on a
// link need their whole range, so any overlap is a conflict. A route through a
// gateway is one only if it is as specific as the network or more, so that it
// would take the network's packets; a wider one (10.0.0.0/8 to a company)
// merely loses the network's part.
func (c claim) conflicts(network netip.Prefix) bool {
	switch {
	case c.prefix.Bits() < minClaimBits || !c.prefix.Overlaps(network):
		return false
	case c.routed:
		return c.prefix.Bits() >= network.Bits()
	}
	return true
}

// firstConflict returns the refusal of the first network that cannot work
// beside claims, or nil.
func firstConflict(networks []netip.Prefix, claims []claim) error {
	for _, n := range networks {
		n = n.Masked()
		for _, c := range claims {
			if !c.conflicts(n) {
				continue
			}
			what := "is on"
			if c.routed {
				what = "is routed through"
			}
			return config.WithHint(fmt.Errorf("the network's %s collides with %s, which %s interface %s", n, c.prefix, what, c.link),
				fmt.Sprintf("disconnect %s, or make the network anew with another range (--prefix)", c.link))
		}
	}
	return nil
}
