package peer

import (
	"slices"
	"time"
)

// BasePayload is what is sent on a path of which nothing is known, in bytes
// above UDP: an inner packet of 1280 bytes and WireGuard's 32. It is the
// BASE_PLPMTU of RFC 8899 section 5.1.2.
const BasePayload = 1280 + 32

// links are the MTUs that are tried, in bytes of IP packet (RFC 1191 section 7
// had such a table): those of real links and of tunnels over them, and between
// them steps of some percent.
var links = []int{
	576, 1004, 1200, 1280, 1300, 1320, 1340, 1360, 1380, 1400, 1420, 1440,
	1452, 1460, 1472, 1480, 1492, 1500, 2304, 4352, 9000,
}

// common are the likely ones: each is tried before those around it.
var common = []int{9000, 1500, 1280}

const (
	// A size is given up after this many probes without an answer, each
	// waited for 3 RTT within the limits (RFC 8899 section 5.1.2, MAX_PROBES).
	maxProbes    = 3
	minProbeWait = 200 * time.Millisecond
	maxProbeWait = 2 * time.Second

	// confirmEvery is the least time between two looks whether the size in
	// use still passes. They are made only while it is used.
	confirmEvery = time.Second

	// raiseWait is how long what was given up is left alone, doubling up to
	// raiseMaxWait (RFC 8899 section 5.1.1, PMTU_RAISE_TIMER): loss, too, can
	// look like a small path.
	raiseWait    = 30 * time.Second
	raiseMaxWait = 10 * time.Minute
)

// search finds the largest datagram that a path carries (RFC 8899): it says
// which sizes to probe when, and which to use. It is pure; sizes are bytes
// above UDP, as WireGuard's packets are measured, and ascend.
//
//	BASE ──answer──► SEARCHING ──nothing left to try──► COMPLETE
//	 │ ▲               ▲    └───────── raise timer ◄──────┤
//	 │ └───────────────┼──── the size in use is lost ─────┘
//	 └─no answer─► ERROR: the same search, below the base
//
// Meanwhile what is proved is in use, and the base while nothing is.
type search struct {
	sizes  []int
	common []int // indexes in sizes, descending
	base   int   // index in sizes
	hint   int   // index to begin with; -1: the base

	lo int // the largest that was answered; -1: none
	hi int // the smallest that was given up; len(sizes): none

	// The probe that waits for its answer.
	target   int // index; -1: there is none
	tries    int
	due      time.Time
	fallback int // the largest smaller one that was answered meanwhile; -1: none

	large     bool      // the size in use is being used
	confirmed time.Time // when lo was last answered, or asked
	raise     time.Time // when to look at what was given up; zero: nothing was
	wait      time.Duration
}

// newSearch begins the search on a path with so many bytes of headers below
// what counts, on a link of at most maxLink. hint is the size to begin with,
// which the path had before; zero: there is none.
func newSearch(overhead, maxLink, hint int) *search {
	s := &search{lo: -1, target: -1, fallback: -1, hint: -1, wait: raiseWait}
	s.sizes = append(s.sizes, BasePayload)
	for _, l := range links {
		if l <= maxLink {
			s.sizes = append(s.sizes, l-overhead)
		}
	}
	slices.Sort(s.sizes)
	s.sizes = slices.Compact(s.sizes)
	s.base, s.hi = s.index(BasePayload), len(s.sizes)
	if hint != BasePayload {
		s.hint = s.index(hint)
	}
	for _, l := range common {
		if i := s.index(l - overhead); i >= 0 {
			s.common = append(s.common, i)
		}
	}
	return s
}

// index returns where a size is in the list; -1: nowhere.
func (s *search) index(size int) int { return slices.Index(s.sizes, size) }

// size is what to send at most.
func (s *search) size() int {
	if s.lo < 0 {
		return s.sizes[s.base]
	}
	return s.sizes[s.lo]
}

// next returns the sizes of the probes that are to leave now, if any. rtt is the
// path's, large says that packets worth a confirmation were sent since the
// last one.
func (s *search) next(now time.Time, rtt time.Duration, large bool) []int {
	s.large = large
	if s.target >= 0 && now.Before(s.due) {
		return nil
	}
	if s.target >= 0 && s.tries == maxProbes {
		s.giveUp(s.target)
	}
	if s.target < 0 {
		s.target, s.tries, s.fallback = s.choose(now), 0, -1
	}
	if s.target < 0 {
		return nil
	}
	s.tries++
	s.due = now.Add(min(max(3*rtt, minProbeWait), maxProbeWait))
	sizes := []int{s.sizes[s.target]}
	if i := s.retreat(); i >= 0 {
		sizes = append(sizes, s.sizes[i])
	}
	return sizes
}

// retreat returns what to probe beside a size that is in use and was not
// answered: when it is given up, it is known what to fall back to. -1: nothing.
func (s *search) retreat() int {
	safe := s.common[len(s.common)-1]
	switch {
	case s.tries < 2 || s.lo >= 0 && s.target != s.lo:
		return -1
	case s.tries == 2 && s.base < s.target:
		return s.base
	case safe < s.target:
		return safe
	}
	return -1
}

// confirming says whether the probe that waits is a confirmation.
func (s *search) confirming() bool { return s.target >= 0 && s.target == s.lo }

// at is when next has something to say, if nothing happens before.
func (s *search) at() time.Time {
	switch {
	case s.target >= 0:
		return s.due
	case s.large && s.lo >= 0:
		return sooner(s.raise, s.confirmed.Add(confirmEvery))
	}
	return s.raise
}

// choose returns what to probe now; -1: nothing.
func (s *search) choose(now time.Time) int {
	if !s.raise.IsZero() && !now.Before(s.raise) {
		s.raise, s.hi = time.Time{}, len(s.sizes)
	}
	switch {
	case s.hint >= 0:
		return s.hint
	case s.lo < 0 && s.hi > s.base:
		return s.base
	case s.hi-s.lo > 1:
		return s.between()
	}
	if s.raise.IsZero() && s.hi < len(s.sizes) {
		s.raise, s.wait = now.Add(s.wait), min(2*s.wait, raiseMaxWait)
	}
	if s.lo >= 0 && s.large && now.Sub(s.confirmed) >= confirmEvery {
		s.confirmed = now
		return s.lo
	}
	return -1
}

// between returns an index between lo and hi: the largest common one, else the
// middle.
func (s *search) between() int {
	for _, i := range s.common {
		if s.lo < i && i < s.hi {
			return i
		}
	}
	return (s.lo + s.hi + 1) / 2
}

// giveUp notes that a size does not pass. When it is the one in use, the path
// has become another: back to the base.
func (s *search) giveUp(i int) {
	if i == s.hint {
		s.hint = -1
	}
	if i <= s.lo {
		s.lo, s.wait = -1, raiseWait
	}
	if s.lo < 0 {
		s.lo = s.fallback
	}
	s.hi, s.raise = min(s.hi, i), time.Time{}
	s.target, s.fallback = -1, -1
}

// tooBig notes that the probe was refused: no link of this machine carries it.
func (s *search) tooBig(size int) { s.giveUp(s.index(size)) }

// pause notes that not even checks are answered now: what was lost meanwhile
// says nothing of sizes.
func (s *search) pause() {
	s.target, s.fallback = -1, -1
	if s.lo < 0 {
		s.hi, s.raise = len(s.sizes), time.Time{}
	}
}

// answered notes that a probe came through, however late.
func (s *search) answered(size int, now time.Time) {
	i := s.index(size)
	if i < 0 {
		return
	}
	if i < s.target && s.size() > size {
		s.fallback = max(s.fallback, i)
		return
	}
	if i == s.hint {
		s.hint = -1
	}
	if i >= s.lo {
		s.lo, s.confirmed = i, now
	}
	if s.hi <= i {
		s.hi = len(s.sizes) // it was given up too soon, and so may others have been
	}
	if s.target <= i {
		s.target = -1
	}
}
