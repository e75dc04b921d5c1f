package peer

import (
	"cmp"
	"slices"
	"time"
)

// PairState is how the checks of a candidate pair stand (RFC 8445 section
// 6.1.2.6; nothing here is frozen).
type PairState string

// The states of a pair.
const (
	PairWaiting    PairState = "waiting"     // it has not been checked yet
	PairInProgress PairState = "in-progress" // no answer so far
	PairSucceeded  PairState = "succeeded"   // it has answered lately
	PairFailed     PairState = "failed"      // it does not answer
)

// failedAfter is how many requests without an answer make a pair fail: as many as
// RFC 8489 section 6.2.1 has of one (Rc). It is still checked now and then.
const failedAfter = 7

// Pair is a candidate pair, as its checks stand.
type Pair struct {
	Local, Remote Endpoint
	Relay         string // the server of our relay that it leads through; "": none
	State         PairState
	RTT           time.Duration // of the newest answer; zero: there was none
	Loss          *float64      // share of probes without an answer, where that is measured
	Answered      time.Time     // newest answer; zero: there was none
	Chosen        bool          // it is the path
	Nominated     bool          // the agents have nominated it
	Suspect       bool          // it is the path, and data waits there for an answer
}

// shown is what Pairs tells of.
type shown struct {
	path   pairKey // zero: none
	checks []*checks
}

// Pairs returns the candidate pairs of the sessions that there are: the path
// first, then what answers, the quickest first, then the rest.
func (p *Peer) Pairs() []Pair {
	shown, now := p.shown.Load(), time.Now()
	pairs := []Pair{}
	for _, c := range shown.checks {
		pairs = append(pairs, c.table(shown.path, now)...)
	}
	for i := range pairs {
		pairs[i].Suspect = pairs[i].Chosen && p.Snapshot().Suspect
	}
	slices.SortStableFunc(pairs, Pair.compare)
	return slices.CompactFunc(pairs, func(a, b Pair) bool { // of two sessions
		return a.Local == b.Local && a.Remote.Addr == b.Remote.Addr && a.State == b.State
	})
}

var pairOrder = []PairState{PairSucceeded, PairInProgress, PairWaiting, PairFailed}

// compare orders pairs for readers, best first.
func (p Pair) compare(q Pair) int {
	by := 0
	switch {
	case p.Chosen != q.Chosen && p.Chosen:
		by = -1
	case p.Chosen != q.Chosen:
		by = 1
	}
	return cmp.Or(by,
		slices.Index(pairOrder, p.State)-slices.Index(pairOrder, q.State),
		cmp.Compare(p.RTT, q.RTT),
		p.Local.Addr.Compare(q.Local.Addr), p.Remote.Addr.Compare(q.Remote.Addr))
}

// table describes all pairs of the session: those that the peer's candidates and
// ours make, and those that its checks have shown.
func (s *checks) table(path pairKey, now time.Time) []Pair {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pairs []Pair
	for k, p := range s.pairs {
		pairs = append(pairs, s.rowLocked(k, p, path, now))
	}
	return pairs
}

func (s *checks) rowLocked(k pairKey, p *pair, path pairKey, now time.Time) Pair {
	row := Pair{
		Local: Endpoint{Host, k.conn.local}, Remote: Endpoint{PeerReflexive, k.remote},
		State: p.state(now), RTT: p.rtt, Loss: p.lost(), Answered: p.valid,
		Chosen: k == path, Nominated: k == s.selected,
	}
	if r := k.conn.relay; r != nil {
		row.Local.Type, row.Relay = Relayed, r.server.String()
	}
	if a, ok := s.announced[k.remote]; ok {
		row.Remote.Type = a.typ
	}
	return row
}

// lost is the share of checks without an answer; nil while there is too little to
// tell.
func (p *pair) lost() *float64 {
	if p.n < len(p.last) {
		return nil
	}
	loss := p.loss
	return &loss
}

func (p *pair) state(now time.Time) PairState {
	switch {
	case p.fresh(now):
		return PairSucceeded
	case p.tries == 0:
		return PairWaiting
	case p.valid.IsZero() && p.tries < failedAfter:
		return PairInProgress
	}
	return PairFailed
}

// count returns how many pairs there are, and how many of them were checked.
func (s *checks) count() (pairs, checked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pairs {
		pairs++
		if p.tries > 0 {
			checked++
		}
	}
	return pairs, checked
}
