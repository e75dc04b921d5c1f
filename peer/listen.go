package peer

import "time"

const (
	// A stream is data that comes for so long, with no longer gaps.
	streamFor = time.Second
	streamGap = 500 * time.Millisecond
)

// listener is what there is of data that comes. Who only receives has no data that
// waits for an answer, and would not know that its own NAT has forgotten it: so a
// stream that ends is a reason to try the path, once. It is pure.
type listener struct {
	begun time.Time // of the stream; zero: there is none
	last  time.Time // when data last came
	tried time.Time // the end that was looked into
}

// came takes when data last came, and returns since when a stream is missed; zero:
// none is.
func (s *listener) came(last, now time.Time) (since time.Time) {
	switch {
	case last.IsZero() || now.Sub(last) >= flowFor:
		s.begun = time.Time{}
		return time.Time{}
	case s.begun.IsZero() || last.Sub(s.last) > streamGap:
		s.begun = last
	}
	s.last = last
	if last.Sub(s.begun) < streamFor || !last.After(s.tried) {
		return time.Time{}
	}
	return last
}

// looked notes that the path was proved since.
func (s *listener) looked() { s.tried = s.last }

// at is when came has to be called again; zero: not, as things stand.
func (s *listener) at(p patience, now time.Time) time.Time {
	if s.begun.IsZero() {
		return time.Time{}
	}
	return later(s.last.Add(p.try), now.Add(tryAgain))
}
