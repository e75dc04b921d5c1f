package peer

import (
	"net/netip"
	"slices"
	"time"
)

// relays4 says whether the server's allocation is to be of IPv4: that of a server with
// an IPv4 address is, and a stream's says itself. Of one with an IPv6 address it is
// where this node has no other way to IPv4: peers that have nothing else are reached
// through it alone, and all others as well, if need be through both relays. A node with
// both families has both from the servers' addresses, and pays nothing for this. (One
// request for both, RFC 8656's ADDITIONAL-ADDRESS-FAMILY, few servers know.)
func (s *server) relays4() bool {
	if s.stream != nil {
		return !s.ipv6
	}
	return s.addr.Addr().Is4() || s.underlay.lacks4() && time.Now().Unix() >= s.only6.Load()
}

// lacks4 says whether this node cannot reach IPv4 by itself: it has no address of it,
// or no server has answered to the one that it has.
func (u *Underlay) lacks4() bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if !slices.ContainsFunc(u.hosts, netip.Addr.Is4) {
		return len(u.hosts) > 0
	}
	silent := false
	for s, f := range u.found {
		if !s.addr.Addr().Is4() {
			continue
		}
		if f.reflexive.mapped.IsValid() || !s.probe.measured().silent {
			return false
		}
		silent = true
	}
	return silent
}

// cannotAskLocked says whether this node has no address of the server's family, so
// that nothing is to be expected of it. The caller holds mu.
func (u *Underlay) cannotAskLocked(s *server) bool {
	return s.stream == nil && len(u.hosts) > 0 &&
		!slices.ContainsFunc(u.hosts, func(h netip.Addr) bool { return h.Is4() == s.addr.Addr().Is4() })
}
