package peer

import (
	"cmp"
	"slices"
	"time"
)

// streamsAfter is how long a server that was never heard of may take to answer over
// UDP before streams are tried.
const streamsAfter = 250 * time.Millisecond

// holdStreams chooses, among streams to servers that relay for one address family,
// those to keep open and the one to hold a relay at, in place. It is pure. While
// they are wanted all are open until one works: the first that answers, which had a
// start if it is cheap. When they are not, what carries a tunnel stays until that
// has left.
func holdStreams(all []*standing, wanted bool) {
	if !wanted {
		for _, s := range all {
			s.held = s.held && s.busy
			s.open = s.held
		}
		return
	}
	slices.SortFunc(all, func(a, b *standing) int {
		return cmp.Or(cmp.Compare(a.streamCost(), b.streamCost()), cmp.Compare(a.server.stream.URL, b.server.stream.URL))
	})
	hopeful, ready := slices.ContainsFunc(all, (*standing).hopeful), slices.ContainsFunc(all, (*standing).ready)
	for _, s := range all {
		switch {
		case !hopeful && s.rtt > 0 && !s.silent && !s.failed:
			s.held, hopeful = true, true
		case s.held && (s.failed || s.silent) && ready && !s.busy:
			s.held = false
		}
		s.open = s.held || !ready
	}
}

func (s *standing) streamCost() time.Duration { return s.cost() + s.server.stream.Cost }

// needsStreams says whether streams are wanted: no relay is to be had over UDP, and
// none is on its way. again is when to look anew; 0: when something happens.
func needsStreams(udp []*standing, streaming bool) (needs bool, again time.Duration) {
	coming := false
	for _, s := range udp {
		switch {
		case s.ready():
			return false, 0
		case s.silent || s.failed:
		case s.rtt > 0:
			coming = true
		case s.age < streamsAfter:
			again = max(again, streamsAfter-s.age)
		}
	}
	if streaming || !coming && again == 0 {
		return true, 0
	}
	return false, again
}
