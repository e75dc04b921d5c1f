package peer

import (
	"cmp"
	"slices"
	"time"
)

// A pair gives way to another with as many relays when that is faster by a fifth and
// 5 ms, or, of relayed ones, when it has not answered for so much longer. Where
// packets get lost it takes that share of lossMargin.
const (
	fasterBy   = 5 * time.Millisecond
	lateBy     = 5 * time.Second
	lossMargin = 300 * time.Millisecond
)

// choice is a valid pair, described.
type choice struct {
	key        pairKey
	remoteType CandidateType
	nominated  bool // the agent has nominated a pair that is valid, this or another
	valid      time.Time
	told       time.Time     // when the newest receipt came
	heard      time.Time     // when the peer has heard data on it
	rtt        time.Duration // smoothed
	loss       float64       // of checks, smoothed
	unanswered time.Time     // since when no check on it is answered; zero: the last was
	cost       time.Duration // what round trip and loss make of it
	rank       uint64        // RFC 8445 section 6.1.2.3, without the role's bit
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

// burden orders pairs before anything that is measured: fewer relays come first, and
// among as many those that our side reaches over UDP.
func (c choice) burden() int {
	n := 2 * c.relays()
	if c.key.conn.relay != nil && c.key.conn.relay.server.stream != nil {
		n++
	}
	return n
}

// direct says that neither end of the pair is a relay.
func (c choice) direct() bool { return c.relays() == 0 }

func (c choice) patience() patience { return patienceOf(c.rtt, c.loss) }

func (c choice) path() Path { return c.key.path() }

func (k pairKey) path() Path {
	return Path{Local: k.conn.source(), Remote: k.remote, Relay: k.conn.relay}
}

// beats says that c is worth a move of the path away from d: it leads through
// fewer relays, or through as many in clearly less time.
func (c choice) beats(d choice) bool {
	if c.burden() != d.burden() {
		return c.burden() < d.burden()
	}
	return c.cost+c.margin(d) <= d.cost
}

// margin is by how much c has to be faster than d. What is known of loss is known
// the less the more there is.
func (c choice) margin(d choice) time.Duration {
	return max(fasterBy, d.cost/5, time.Duration(max(c.loss, d.loss)*float64(lossMargin)))
}

// leads says that c, to which the path has moved from d, is still worth it. It takes
// half of what the move took, so that the path does not go to and fro.
func (c choice) leads(d choice) bool {
	if c.burden() != d.burden() {
		return c.burden() < d.burden()
	}
	return c.cost+c.margin(d)/2 <= d.cost
}

// returns says that c, which d has beaten, is about as fast again, and of a better
// kind: the LAN, say, against the way around it.
func (c choice) returns(d choice) bool {
	return c.direct() && d.direct() && c.rank > d.rank && c.cost <= d.cost+fasterBy/2
}

// compare orders choices; it never calls two pairs equal, so the choice among
// equally good ones is stable. Relayed ones are ordered by their round trip,
// which is the sum of all legs.
func (c choice) compare(d choice) int {
	by := cmp.Compare(d.burden(), c.burden())
	if by == 0 && !c.direct() {
		by = cmp.Compare(d.cost, c.cost)
	}
	return cmp.Or(by, cmp.Compare(c.rank, d.rank), c.key.remote.Compare(d.key.remote),
		c.key.conn.local.Compare(d.key.conn.local))
}

// verdict is what data has shown of pairs, where checks do not say enough.
type verdict struct {
	since time.Time       // what has carried data since, or answered, comes before the rest; zero: all is as good
	avoid func(Path) bool // what answers checks and carries no data; nil: nothing
}

// best returns the pair to send on: the agent's, which both sides have, while it is
// valid and none beats it; else the best valid one, or the one chosen last while
// that is about as good.
func (s *checks) best(now time.Time, v verdict) (choice, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	valid := v.prefer(s.validLocked(now))
	if len(valid) == 0 {
		return choice{}, false
	}
	if p := s.pairs[s.chosen]; p != nil && now.Sub(p.valid) < validFor && v.avoids(valid[0].key) && !v.avoids(s.chosen) {
		return s.describeLocked(s.chosen, p, now), true // it loses much, the others all
	}
	best := valid[0]
	for _, c := range valid {
		if c.beats(best) {
			best = c
		}
	}
	chosen, known := find(valid, s.chosen)
	if c, ok := find(valid, s.selected); ok {
		if known && chosen.leads(c) {
			c = chosen
		}
		if !best.beats(c) {
			best = c
		}
	} else if known && !best.beats(chosen) && !best.returns(chosen) {
		best = chosen
	}
	s.chosen = best.key
	return best, true
}

func (v verdict) avoids(k pairKey) bool { return v.avoid != nil && v.avoid(k.path()) }

// prefer leaves of valid pairs those that are to be chosen from.
func (v verdict) prefer(valid []choice) []choice {
	valid = some(valid, func(c choice) bool { return !v.avoids(c.key) })
	if v.since.IsZero() {
		return valid
	}
	valid = some(valid, func(c choice) bool { return !c.valid.Before(v.since) })
	return some(valid, func(c choice) bool { return !c.heard.Before(v.since) })
}

// some returns those that fit, or all where none does.
func some(all []choice, fits func(choice) bool) (fit []choice) {
	for _, c := range all {
		if fits(c) {
			fit = append(fit, c)
		}
	}
	if len(fit) == 0 {
		return all
	}
	return fit
}

func find(all []choice, k pairKey) (choice, bool) {
	i := slices.IndexFunc(all, func(c choice) bool { return c.key == k })
	if i < 0 {
		return choice{}, false
	}
	return all[i], true
}

// validNow returns the valid pairs, best first.
func (s *checks) validNow(now time.Time) []choice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.validLocked(now)
}

// describe describes a pair, valid or not.
func (s *checks) describe(k pairKey, now time.Time) (choice, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pairs[k]
	if p == nil {
		return choice{}, false
	}
	return s.describeLocked(k, p, now), true
}

// validLocked returns the valid pairs, best first. A relayed one that is late
// against another is not among them, nor one whose server is silent while there
// are others.
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
	valid = some(valid, func(c choice) bool { return !c.silent() })
	valid = slices.DeleteFunc(valid, func(c choice) bool { return !c.direct() && newest.Sub(c.valid) > lateBy })
	slices.SortFunc(valid, func(c, d choice) int { return d.compare(c) })
	return valid
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
		valid: p.valid, told: p.told, heard: p.heard, rtt: p.rtt, loss: p.loss, unanswered: p.unanswered(), cost: p.cost(), rank: lo<<32 + 2*hi,
	}
}
