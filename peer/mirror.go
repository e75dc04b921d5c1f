package peer

import (
	"net/netip"
	"time"

	"github.com/pion/stun/v4"
)

// mirrorFor is how long what one peer sees of this node counts against what another
// does.
const mirrorFor = 5 * time.Second

// mirror is the reflexive address of a host address, as peers see it: their
// responses to checks show it as a server's do (RFC 8445 section 7.2.5.3.1). It
// stands in for the servers, which may be gone with the hub, when an address
// changes. A NAT that shows itself to each peer under another port has none.
type mirror struct {
	mapped netip.AddrPort
	from   netip.AddrPort // the peer that sees it
	at     time.Time
	none   bool // peers see different ones
}

// see returns the mirror after a peer has seen mapped. It is pure.
func (m mirror) see(mapped, from netip.AddrPort, now time.Time) mirror {
	switch {
	case m.none:
	case !m.mapped.IsValid(), m.mapped == mapped, m.from == from, now.Sub(m.at) >= mirrorFor:
		return mirror{mapped: mapped, from: from, at: now}
	default:
		m = mirror{none: true}
	}
	return m
}

// mirrored takes the response of a peer to a check from a host address.
func (u *Underlay) mirrored(c *conn, from netip.AddrPort, response *stun.Message) {
	var mapped stun.XORMappedAddress
	if c.relay != nil || u.relayOnly || mapped.GetFrom(response) != nil {
		return
	}
	ip, _ := netip.AddrFromSlice(mapped.IP)
	addr, base := canonical(netip.AddrPortFrom(ip, uint16(mapped.Port))), c.local.Addr()
	if addr.Addr() == base || !u.allowed(addr) {
		return
	}
	u.mu.Lock()
	before := u.mirrors[base]
	after := before.see(addr, from, time.Now())
	if u.mirrors == nil {
		u.mirrors = make(map[netip.Addr]mirror)
	}
	u.mirrors[base] = after
	u.mu.Unlock()
	if before.mapped != after.mapped {
		u.notify()
	}
}
