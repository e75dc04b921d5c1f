package peer

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// Gathered returns this node's candidates as they are now (host, then
// server-reflexive, then relay), and whether no more are on their way.
func (u *Underlay) Gathered() (cs []Candidate, all bool) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	known := make(map[netip.AddrPort]bool)
	add := func(c Candidate) {
		if !known[c.Addr] { // RFC 8445 section 5.1.3: redundant ones are left out
			known[c.Addr] = true
			cs = append(cs, c)
		}
	}
	if !u.relayOnly {
		for _, a := range u.hosts {
			addr := netip.AddrPortFrom(a, u.port)
			add(Candidate{Type: Host, Addr: addr, Base: addr})
		}
	}
	all = true
	asked := false
	order := slices.SortedFunc(maps.Keys(u.found), func(a, b *server) int {
		return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.String(), b.String()))
	})
	for _, s := range order {
		f := u.found[s]
		all = all && (f.probed && f.settled || u.cannotAskLocked(s))
		asked = asked || f.reflexive.mapped.Addr().Is4()
		if m := f.reflexive.mapped; !u.relayOnly && u.allowed(m) {
			add(Candidate{Type: ServerReflexive, Addr: m, Base: netip.AddrPortFrom(f.reflexive.base, u.port)})
		}
	}
	if guess, ok := u.guessLocked(); ok && !asked {
		add(guess)
	}
	for _, base := range u.hosts {
		if m := u.mirrors[base]; !u.relayOnly && m.mapped.IsValid() {
			add(Candidate{Type: ServerReflexive, Addr: m.mapped, Base: netip.AddrPortFrom(base, u.port)})
		}
	}
	for _, s := range order {
		if r := u.found[s].relay; r != nil && (s.stream == nil || u.streaming) {
			add(Candidate{Type: Relayed, Addr: r.addr, Base: r.addr, Relay: r})
		}
	}
	return cs, all
}

// update changes what a server has given and tells the peers; a server that
// is no longer in use changes nothing.
func (u *Underlay) update(s *server, change func(*found)) {
	u.mu.Lock()
	f, ok := u.found[s]
	before := f
	change(&f)
	if ok {
		u.found[s] = f
	}
	u.mu.Unlock()
	if ok && f != before {
		u.notify()
	}
}

func (u *Underlay) setReflexive(s *server, r reflexive) {
	u.update(s, func(f *found) {
		if f.reflexive != r {
			signal(u.mapper.again)
		}
		f.reflexive, f.probed = r, true
	})
}

// forgetLocked gives up the reflexive addresses of local addresses that are not
// among the new hosts: nothing can be received there, though the NAT may hold the
// mapping, and what the new address has is about to be learned. The caller holds mu.
func (u *Underlay) forgetLocked(hosts []netip.Addr) {
	for s, f := range u.found {
		if base := f.reflexive.base; slices.Contains(u.hosts, base) && !slices.Contains(hosts, base) {
			f.reflexive, f.probed = reflexive{}, false
			u.found[s] = f
		}
	}
}

func (u *Underlay) probed(s *server) { u.update(s, func(f *found) { f.probed = true }) }

func (u *Underlay) setRelay(s *server, r *Relay) {
	u.update(s, func(f *found) { f.relay, f.settled = r, true })
}

func (u *Underlay) settle(s *server) { u.update(s, func(f *found) { f.settled = true }) }
