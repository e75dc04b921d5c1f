package peer

import "time"

// Waits between two sendings of a candidate list that is not confirmed.
const (
	trickleWait    = 500 * time.Millisecond
	trickleMaxWait = 8 * time.Second
)

// trickle is the exchange of candidates in one generation (RFC 8838), as
// state instead of events: each side sends its whole list, again and again,
// until the other confirms its length. It is pure; the Peer's loop owns it.
type trickle struct {
	lines []string // ours so far; only grows
	end   bool     // no more are on their way; a hint, which a change of the network may belie

	acked int  // lines of ours that the peer has
	seen  int  // lines of the peer's that we have
	owed  bool // something is to be said in any case: an ack, or the end

	due  time.Time // of the next sending while lines are unconfirmed; zero: at once
	wait time.Duration
}

// add takes one more local candidate; it must be told at once. It reports
// false when the list is full.
func (t *trickle) add(line string) bool {
	if len(t.lines) >= maxCandidates {
		return false
	}
	t.lines = append(t.lines, line)
	t.due, t.wait = time.Time{}, 0
	return true
}

// ended says whether more candidates are on their way.
func (t *trickle) ended(end bool) {
	t.owed = t.owed || end && !t.end
	t.end = end
}

// described takes note that, by the offer and the answer, the peer has the
// first n of our lines and we have m of its.
func (t *trickle) described(n, m int) { t.acked, t.seen, t.owed = n, m, false }

// receive takes what a message of the peer says about the exchange.
func (t *trickle) receive(m message) {
	t.acked = max(t.acked, min(m.Ack, len(t.lines)))
	t.seen = max(t.seen, len(m.Candidates))
	t.owed = t.owed || m.Want
}

// at is when next has something to send; zero: never, as things stand.
func (t *trickle) at(now time.Time) time.Time {
	switch {
	case t.owed:
		return now
	case t.acked >= len(t.lines):
		return time.Time{}
	case t.due.IsZero():
		return now
	}
	return t.due
}

// next returns the message to send now, if any.
func (t *trickle) next(ufrag string, now time.Time) (message, bool) {
	if at := t.at(now); at.IsZero() || at.After(now) {
		return message{}, false
	}
	t.owed = false
	m := message{Type: typeCandidates, Ufrag: ufrag, Candidates: t.lines, End: t.end, Ack: t.seen}
	if t.acked < len(t.lines) {
		m.Want = true
		t.wait = min(max(2*t.wait, trickleWait), trickleMaxWait)
		t.due = now.Add(t.wait)
	}
	return m, true
}
