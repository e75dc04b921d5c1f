package natlab

import (
	"math/rand/v2"
	"time"
)

// A shaper decides the fate of packets on one direction of a link. It reads no
// clock and moves no packets. Not safe for concurrent use.
//
//	     ┌ buffer, then sending at rate ┐   ┌ delay ± jitter ┐
//	now ─┴──────────────────────── sent ┴───┴────────────── due
type shaper struct {
	link Link
	rng  *rand.Rand
	sent time.Time // when the last packet has left the sender
	due  time.Time // when the last packet that kept its place arrives
}

func newShaper(k Link, direction uint64) *shaper {
	return &shaper{link: k, rng: rand.New(rand.NewPCG(k.Seed, direction))}
}

// admit takes a packet of so many bytes in at now, and returns when it arrives
// and in how many copies; none if it is lost or the buffer is full.
func (s *shaper) admit(now time.Time, size int) (due time.Time, copies int) {
	sent := now
	if s.link.Rate > 0 {
		if s.sent.After(now) {
			sent = s.sent
		}
		if sent.Sub(now) > s.link.buffer() {
			return time.Time{}, 0
		}
		sent = sent.Add(time.Duration(int64(size) * 8 * int64(time.Second) / int64(s.link.Rate)))
		s.sent = sent
	}
	if s.chance(s.link.Loss) { // it was sent all the same
		return time.Time{}, 0
	}
	copies = 1
	if s.chance(s.link.Duplicate) {
		copies = 2
	}
	if s.chance(s.link.Reorder) {
		return sent, copies
	}
	due = sent.Add(s.link.Delay + s.jitter())
	if due.Before(sent) {
		due = sent
	}
	if due.Before(s.due) {
		due = s.due
	}
	s.due = due
	return due, copies
}

func (s *shaper) chance(p float64) bool { return p > 0 && s.rng.Float64() < p }

// jitter is uniform between plus and minus the link's.
func (s *shaper) jitter() time.Duration {
	if s.link.Jitter == 0 {
		return 0
	}
	return time.Duration(s.rng.Int64N(2*int64(s.link.Jitter)+1)) - s.link.Jitter
}
