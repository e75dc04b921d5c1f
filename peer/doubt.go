package peer

import (
	"slices"
	"time"
)

const (
	// A path that answers checks and carries no data is tried again so often, for so
	// long while data flows, and less often later.
	retryEvery = 2 * time.Second
	retryLater = 10 * time.Second
	retryEager = time.Minute
	retryFor   = 500 * time.Millisecond

	maxDoubts = 32

	// One whose path has not answered for seenFor is not tried; when its place is
	// needed, or after forgetFor, it is forgotten.
	seenFor   = 30 * time.Second
	forgetFor = 10 * time.Minute
)

// doubts are the paths that answered checks and did not carry data. It is pure.
type doubts map[Path]*doubt

type doubt struct {
	since time.Time
	tried time.Time // the last trial began
	seen  time.Time // it last answered a check
}

// add takes a path that has been shown not to carry data.
func (d doubts) add(p Path, now time.Time) {
	if d[p] != nil {
		return
	}
	for len(d) >= maxDoubts {
		var oldest Path
		for p, x := range d {
			if o := d[oldest]; o == nil || x.seen.Before(o.seen) {
				oldest = p
			}
		}
		delete(d, oldest)
	}
	d[p] = &doubt{since: now, tried: now, seen: now}
}

// sees takes that a path answers.
func (d doubts) sees(p Path, now time.Time) {
	if x := d[p]; x != nil {
		x.seen = now
	}
}

// avoid says whether a path is not to be used.
func (d doubts) avoid(p Path) bool { return d[p] != nil }

// retry returns the paths that are on trial again: small packets leave by them.
func (d doubts) retry(now time.Time, flowing bool) (on []Path, next time.Time) {
	for p, x := range d {
		switch away := now.Sub(x.seen); {
		case away >= forgetFor:
			delete(d, p)
			continue
		case away >= seenFor:
			continue
		}
		every := retryEvery
		if !flowing || now.Sub(x.since) > retryEager {
			every = retryLater
		}
		if now.Sub(x.tried) >= every {
			x.tried = now
		}
		if now.Sub(x.tried) < retryFor && x.tried != x.since {
			on = append(on, p)
			next = sooner(next, x.tried.Add(retryFor))
		} else {
			next = sooner(next, x.tried.Add(every))
		}
	}
	slices.SortFunc(on, func(a, b Path) int { return a.Remote.Compare(b.Remote) })
	return on, next
}

// carried takes that the peer has heard data on a path, and says whether that ends
// a doubt.
func (d doubts) carried(p Path, heard time.Time) bool {
	x := d[p]
	if x == nil || !heard.After(x.tried) {
		return false
	}
	delete(d, p)
	return true
}
