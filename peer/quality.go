package peer

import (
	"slices"
	"time"
)

const (
	// A lost check weighs so much in the average; up to lossFree of them are no
	// reason to leave a path.
	lossWeight = 1.0 / 16
	lossFree   = 0.1
)

// quality is what checks have shown of a pair. It is pure.
type quality struct {
	rtt  time.Duration // smoothed; 0: never answered
	last [5]time.Duration
	n    int     // answers so far
	loss float64 // smoothed share of the checks without an answer
}

// answered takes the round trip of a check.
func (q *quality) answered(rtt time.Duration) {
	rtt = max(rtt, time.Microsecond)
	if q.n == 0 {
		q.rtt = rtt
	}
	q.rtt += time.Duration(weight * float64(rtt-q.rtt))
	q.loss -= lossWeight * q.loss
	q.last[q.n%len(q.last)] = rtt
	q.n++
}

// missed takes that a check had no answer.
func (q *quality) missed() { q.loss += lossWeight * (1 - q.loss) }

// cost orders pairs: the shortest of the last round trips, which is what the network
// takes (the rest is what the ends and queues do at the moment, and no reason to
// move), and what waiting for lost packets adds.
func (q *quality) cost() time.Duration {
	shortest := slices.Min(q.last[:max(1, min(q.n, len(q.last)))])
	return shortest + time.Duration(max(0, q.loss-lossFree)*float64(probeRTO))
}
