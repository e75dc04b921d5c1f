package main

import (
	"slices"
	"time"
)

// interval is between two datagrams of a flow: 50 a second.
const interval = 20 * time.Millisecond

// silence returns the longest time between two arrivals within from and to,
// beyond the interval. What the sender was late itself is no silence.
func silence(sent, got []time.Time, from, to time.Time) (longest time.Duration) {
	at, _ := slices.BinarySearchFunc(got, from, time.Time.Compare)
	last := from
	if at > 0 && from.Sub(got[at-1]) < interval {
		last = got[at-1] // it is the fault's own that nothing came before
	}
	for _, next := range append(slices.Clone(got[at:]), to) {
		if next.After(to) {
			next = to
		}
		if quiet := next.Sub(last) - interval; quiet > longest {
			longest = max(longest, quiet-lateness(sent, last, next))
		}
		last = next
	}
	return longest
}

// onTheWay is how long a datagram may take on an undisturbed path, at most.
const onTheWay = 200 * time.Millisecond

// lateness is how much later than the interval wants the sender sent what was
// due between two arrivals.
func lateness(sent []time.Time, from, to time.Time) (late time.Duration) {
	at, _ := slices.BinarySearchFunc(sent, from.Add(-onTheWay), time.Time.Compare)
	for i := max(at, 1); i < len(sent) && !sent[i].After(to); i++ {
		late += max(0, sent[i].Sub(sent[i-1])-interval)
	}
	return late
}

// ended returns when the last silence of more than limit within from and to
// ended; from if there was none.
func ended(got []time.Time, from, to time.Time, limit time.Duration) time.Time {
	end, last := from, from
	for _, next := range append(slices.Clone(got), to) {
		if next.Before(from) || next.After(to) {
			continue
		}
		if next.Sub(last) > limit {
			end = next
		}
		last = next
	}
	return end
}
