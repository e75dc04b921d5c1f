package peer

import (
	"cmp"
	"slices"
	"time"

	"github.com/pion/ice/v4"
)

const (
	// A relayed pair gives way to another with as many relays when that is
	// faster by a fifth and 5 ms, or when it has not answered for so much
	// longer: two of the agent's keepalives.
	fasterBy = 5 * time.Millisecond
	lateBy   = 5 * time.Second

	// Beside the path, when that is relayed, so many relayed pairs are checked
	// this often, so that one that is better, or works still, takes over.
	maxStandby   = 6
	standbyEvery = 3 * time.Second
)

// choice is a valid pair, described.
type choice struct {
	key        pairKey
	remoteType CandidateType
	nominated  bool // the agent has nominated a pair that is valid, this or another
	valid      time.Time
	rtt        time.Duration
	rank       uint64 // RFC 8445 section 6.1.2.3, without the role's bit
}

// relays is how many relays the pair leads through: ours, the peer's, or both.
func (c choice) relays() (n int) {
	if c.key.conn.relay != nil {
		n++
	}
	if c.remoteType == Relayed {
		n++
	}
	return n
}

// direct says that neither end of the pair is a relay.
func (c choice) direct() bool { return c.relays() == 0 }

func (c choice) path() Path {
	return Path{Local: c.key.conn.source(), Remote: c.key.remote, Relay: c.key.conn.relay}
}

// beats says that c is worth a move of the path away from d: it leads through
// fewer relays, or through as many in clearly less time.
func (c choice) beats(d choice) bool {
	if c.relays() != d.relays() {
		return c.relays() < d.relays()
	}
	return !c.direct() && c.rtt+max(fasterBy, d.rtt/5) <= d.rtt
}

// compare orders choices; it never calls two pairs equal, so the choice among
// equally good ones is stable. Relayed ones are ordered by their round trip,
// which is the sum of all legs.
func (c choice) compare(d choice) int {
	by := cmp.Compare(d.relays(), c.relays())
	if by == 0 && !c.direct() {
		by = cmp.Compare(d.rtt, c.rtt)
	}
	return cmp.Or(by, cmp.Compare(c.rank, d.rank), c.key.remote.Compare(d.key.remote),
		c.key.conn.local.Compare(d.key.conn.local))
}

// best returns the pair to send on: the agent's, while it is valid and none beats
// it; else the best valid one.
func (s *checks) best(now time.Time) (choice, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	valid := s.validLocked(now)
	if len(valid) == 0 {
		return choice{}, false
	}
	best := valid[0]
	if c, ok := find(valid, s.selected); ok {
		// Both sides have it, so it is kept if it is about as good.
		if chosen, ok := find(valid, s.chosen); ok && chosen.beats(c) {
			c = chosen
		}
		if !best.beats(c) {
			best = c
		}
	} else if c, ok := find(valid, s.chosen); ok && !c.direct() && !best.beats(c) {
		best = c
	}
	s.chosen = best.key
	return best, true
}

func find(all []choice, k pairKey) (choice, bool) {
	i := slices.IndexFunc(all, func(c choice) bool { return c.key == k })
	if i < 0 {
		return choice{}, false
	}
	return all[i], true
}

// validLocked returns the valid pairs, best first. A relayed one that is late
// against another is not among them.
func (s *checks) validLocked(now time.Time) []choice {
	var valid []choice
	var newest time.Time // of the relayed ones
	for k, p := range s.pairs {
		if !p.fresh(now) {
			continue
		}
		c := s.describeLocked(k, p, now)
		if !c.direct() && c.valid.After(newest) {
			newest = c.valid
		}
		valid = append(valid, c)
	}
	valid = slices.DeleteFunc(valid, func(c choice) bool { return !c.direct() && newest.Sub(c.valid) > lateBy })
	slices.SortFunc(valid, func(c, d choice) int { return d.compare(c) })
	return valid
}

// standby returns the pairs that are to be checked now, beside what the agent
// does, the role to do it under, and when to ask again; zero: not, as things
// stand. While the path is relayed, others that are good for it are kept valid;
// and so is a path that is not the agent's.
func (s *checks) standby(now time.Time) (due []pairKey, role ice.AttrControl, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	valid := s.validLocked(now)
	chosen, ok := find(valid, s.chosen)
	if !ok || !s.roleKnown {
		return nil, role, time.Time{}
	}
	kept := []choice{chosen}
	for _, c := range valid {
		if !chosen.direct() && !c.direct() && c.key != s.chosen && len(kept) <= maxStandby {
			kept = append(kept, c)
		}
	}
	for _, c := range kept {
		at := s.pairs[c.key].sent.Add(standbyEvery)
		if c.key == s.selected {
			continue // the agent's keepalives do it
		}
		if !at.After(now) {
			due, at = append(due, c.key), now.Add(standbyEvery)
		}
		next = sooner(next, at)
	}
	return due, s.role, next
}

func (s *checks) describeLocked(k pairKey, p *pair, now time.Time) choice {
	remote, ok := s.announced[k.remote]
	if !ok {
		remote = announced{PeerReflexive, p.priority}
	}
	selected := s.pairs[s.selected]
	lo, hi := uint64(min(k.conn.priority, remote.priority)), uint64(max(k.conn.priority, remote.priority))
	return choice{
		key: k, remoteType: remote.typ, nominated: selected != nil && selected.fresh(now),
		valid: p.valid, rtt: p.rtt, rank: lo<<32 + 2*hi,
	}
}
