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
	n    int         // answers so far
	loss float64     // smoothed share of the checks without an answer
	open []time.Time // checks without one yet, oldest first, at most maxOpen
}

const (
	// maxOpen bounds the checks that are remembered, and maxLost those that one
	// answer shows to be lost: a way that was gone for a while is not a lossy one.
	maxOpen = 16
	maxLost = 2

	// So many checks at least without an answer in this time: none will come.
	failing    = 6
	failsAfter = time.Second
)

// left takes that a check left.
func (q *quality) left(at time.Time) {
	q.open = append(q.open[max(0, len(q.open)+1-maxOpen):], at)
}

// answered takes the answer to a check, and how long it took. Those that left before
// and have none are lost.
func (q *quality) answered(now time.Time, rtt time.Duration) {
	at := now.Add(-rtt)
	rtt = max(rtt, time.Microsecond)
	if q.n == 0 {
		q.rtt = rtt
	}
	q.rtt += time.Duration(weight * float64(rtt-q.rtt))
	q.last[q.n%len(q.last)] = rtt
	q.n++
	q.loss -= lossWeight * q.loss
	for i, left := range q.open {
		if left.Before(at) && i < maxLost {
			q.loss += lossWeight * (1 - q.loss)
		}
	}
	q.open = slices.DeleteFunc(q.open, func(left time.Time) bool { return !left.After(at) })
}

// unanswered is since when no check is answered; zero: the last was, or none left.
func (q *quality) unanswered() time.Time {
	if len(q.open) == 0 {
		return time.Time{}
	}
	return q.open[0]
}

// fails says that so many checks have no answer that none is to be expected.
func (q *quality) fails(now time.Time) bool {
	return len(q.open) >= max(failing, triesOf(q.loss)) && now.Sub(q.open[0]) >= q.rtt+failsAfter
}

// cost orders pairs: the shortest of the last round trips, which is what the network
// takes (the rest is what the ends and queues do at the moment, and no reason to
// move), and what waiting for lost packets adds.
func (q *quality) cost() time.Duration {
	shortest := slices.Min(q.last[:max(1, min(q.n, len(q.last)))])
	return shortest + time.Duration(max(0, q.loss-lossFree)*float64(probeRTO))
}
