package peer

import (
	"cmp"
	"slices"
	"time"

	"github.com/pion/ice/v4"
)

// How often pairs are checked by us, besides what the agent does: it stops when it
// has nominated, and knows nothing of what data needs.
const (
	pathEvery  = 400 * time.Millisecond // the path, while data flows: the receipts tell whether it arrives
	calmEvery  = 3 * time.Second        // the path, and what may replace a relayed one
	tryEvery   = 100 * time.Millisecond
	freshEvery = time.Second      // the others, while the path is new or on trial
	spareEvery = 10 * time.Second // the others, later
	freshFor   = time.Minute

	// So many pairs are checked beside the path, and so many as stand by for it.
	maxSpares  = 16
	maxStandby = 6
)

// eagerness is how things stand with the path, for the schedule of checks.
type eagerness struct {
	trial   time.Time // it is on trial since; zero: it is not
	suspect bool
	flowing bool // there is data
	moved   time.Time
}

// schedule returns the pairs that are to be checked now, the role to do it under,
// and when to ask again; zero: not, as things stand.
func (s *checks) schedule(now time.Time, e eagerness) (due []pairKey, role ice.AttrControl, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.roleKnown || s.pairs[s.chosen] == nil {
		return nil, role, time.Time{}
	}
	all := s.sparesLocked(now)
	chosen := s.describeLocked(s.chosen, s.pairs[s.chosen], now)
	spares := 0
	for i, c := range append([]choice{chosen}, all...) {
		every := e.spare(c, chosen, now)
		if i == 0 {
			every = e.path(c.key == s.selected)
		} else if every == calmEvery {
			if spares++; spares > maxStandby {
				every = 0
			}
		}
		if every == 0 {
			continue
		}
		last := s.pairs[c.key].sent
		if i == 0 && (e.flowing || !e.trial.IsZero()) || e.suspect {
			last = s.pairs[c.key].asked // the agent's bring no receipts
		}
		at := last.Add(every)
		if !at.After(now) {
			due, at = append(due, c.key), now.Add(every)
		}
		next = sooner(next, at)
	}
	return due, s.role, next
}

// sparesLocked returns the pairs beside the chosen one that are worth checks: those
// first that have answered, then the better ones.
func (s *checks) sparesLocked(now time.Time) []choice {
	var all []choice
	for k, p := range s.pairs {
		if k != s.chosen {
			all = append(all, s.describeLocked(k, p, now))
		}
	}
	answered := func(c choice) int {
		if c.valid.IsZero() {
			return 1
		}
		return 0
	}
	slices.SortFunc(all, func(c, d choice) int {
		return cmp.Or(cmp.Compare(answered(c), answered(d)), d.compare(c))
	})
	return all[:min(len(all), maxSpares)]
}

// path is how often the path is checked; 0: not, the agent does it.
func (e eagerness) path(agents bool) time.Duration {
	switch {
	case !e.trial.IsZero():
		return tryEvery
	case e.flowing:
		return pathEvery
	case agents:
		return 0
	}
	return calmEvery
}

// spare is how often another pair is checked; 0: not.
func (e eagerness) spare(c, chosen choice, now time.Time) time.Duration {
	fresh := now.Sub(e.moved) < freshFor
	switch {
	case e.suspect && !c.valid.IsZero() && now.Sub(e.trial) < calmAfter:
		return tryEvery
	case e.suspect:
		return freshEvery
	case !chosen.direct() && !c.direct():
		if now.Sub(c.valid) < validFor {
			return calmEvery
		}
	case !chosen.direct() && fresh:
		return freshEvery
	case !chosen.direct():
		return spareEvery
	case e.flowing && !c.valid.IsZero() && fresh:
		return calmEvery
	case e.flowing && !c.valid.IsZero():
		return spareEvery
	}
	return 0
}
