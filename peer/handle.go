package peer

import (
	"net/netip"
	"slices"
)

// Handle takes a STUN message or ChannelData that arrived on the shared socket,
// at the address local (zero: not known). It does not block and does not keep
// b, so it may be called from the socket's receive goroutine. The way of a
// packet:
//
//  0. what answers the test of the NAT's mapping: there;
//  1. from a server in use: to its Binding probe or its TURN client, or out of
//     the relay, as relayed, and nothing else goes there;
//  2. from an address that may be no candidate: dropped;
//  3. a Binding request or response: to the ICE session it belongs to;
//  4. else dropped.
//
// What comes out of a relay takes steps 2 to 4 as well; what is not STUN there
// goes to OnRelayed.
func (u *Underlay) Handle(b []byte, local netip.Addr, from netip.AddrPort) {
	from = canonical(from)
	if u.mapper.handle(local.Unmap(), from, b) {
		return
	}
	if s := (*u.servers.Load())[from]; s != nil {
		s.handle(local.Unmap(), b)
		return
	}
	if !isSTUN(b) {
		u.drops.junk.Add(1)
		return
	}
	if !u.allowed(from) {
		u.drops.filtered.Add(1)
		return
	}
	u.mux.route(nil, local.Unmap().WithZone(""), from, b)
}

// Channel returns the relay and the peer's address that ChannelData with that
// number from that server belongs to, and false for what is not ours. It also says
// that a tunnel's packet came that way: do not ask for checks. It takes no lock and
// allocates nothing.
func (u *Underlay) Channel(server netip.AddrPort, number uint16) (r *Relay, peer netip.AddrPort, ok bool) {
	s := (*u.servers.Load())[canonical(server)]
	if s == nil {
		return nil, netip.AddrPort{}, false
	}
	if r = s.relay.Load(); r == nil {
		return nil, netip.AddrPort{}, false
	}
	d := r.destination(number)
	if d == nil {
		return nil, netip.AddrPort{}, false
	}
	mark(&d.data)
	mark(&r.heard)
	return r, d.addr, true
}

// relayed takes a packet that came out of a relay.
func (u *Underlay) relayed(r *Relay, from netip.AddrPort, b []byte) {
	switch {
	case !u.allowed(from):
		u.drops.filtered.Add(1)
	case isSTUN(b):
		u.mux.route(r, netip.Addr{}, from, b)
	case u.onRelayed != nil:
		u.onRelayed(r, from, b)
	default:
		u.drops.junk.Add(1)
	}
}

// allowed says whether a may be a peer's address.
func (u *Underlay) allowed(a netip.AddrPort) bool { return usable(a) && u.mayBe(a.Addr()) }

// mayBe says whether a candidate may have the address, of this node or of a peer.
func (u *Underlay) mayBe(a netip.Addr) bool {
	foreign := u.foreign.Load()
	return (u.allow == nil || u.allow(a)) &&
		(foreign == nil || !slices.ContainsFunc(*foreign, func(p netip.Prefix) bool { return p.Contains(a) }))
}

// Servers are those addresses that may be a server's, the first eight, each once:
// whoever names them decides where this node sends to.
func (u *Underlay) Servers(addrs []netip.AddrPort) (servers []netip.AddrPort) {
	for _, a := range addrs {
		if a = canonical(a); u.mayServe(a) && !slices.Contains(servers, a) && len(servers) < maxMapServers {
			servers = append(servers, a)
		}
	}
	return servers
}

// mayServe says whether a may be a server's address.
func (u *Underlay) mayServe(a netip.AddrPort) bool {
	return usable(a) && (u.allow == nil || u.allow(a.Addr()))
}
