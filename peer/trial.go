package peer

import "time"

// How long data may wait for an answer: then the path is tried, and after twice as
// long it is suspect. The round trips are the path's.
const (
	minTry     = 150 * time.Millisecond
	tryRTT     = 1.5
	maxTry     = 3 * time.Second
	unlikely   = 0.002 // that so many tries get lost on a path that works
	maxTries   = 12
	tryAgain   = 100 * time.Millisecond // while it waits
	tryCalmer  = time.Second            // after calmAfter
	calmAfter  = 5 * time.Second
	openFor    = 3 * time.Second  // at most, from the first proof until it ends
	giveUpFor  = 10 * time.Second // without data that waits, nothing is to be proved
	sessionMin = time.Second      // between two sessions made for one trial, doubling
	sessionMax = 10 * time.Second
	quietFor   = 30 * time.Second // without one, the next is as the first
)

// trial is the proof of the path by data. It is pure.
//
//	       data waits for 1.5 RTT           for 3 RTT
//	calm ─────────────────────────► tried ────────────► suspect
//	 ▲                                │                    │
//	 └──── the peer has heard it ─────┴────────────────────┘
//
// A path is tried with a packet through the tunnel and a check that brings the
// receipt for it. While it is suspect all pairs are, small packets leave by all
// that answer, and a new session is made; the peer, told so by the checks, does the
// same for its direction. It lasts until the peer has heard data on the path, which
// may be another one by then.
type trial struct {
	since   time.Time // tried since; zero: calm
	suspect time.Time // since; zero: it is not
	theirs  bool      // it is the peer that is in doubt
	next    time.Time // when to try again
	waited  time.Time // when data last waited

	proof time.Time // when the path was proved, while others are not decided yet

	sessions int       // made for it
	session  time.Time // when the next may be; zero: at once
}

// patience is how long data may wait for its answer: until the path is tried, and
// until it is suspect.
type patience struct{ try, suspect time.Duration }

// patienceOf is that with a path of a round trip, that loses so many of the packets
// that are answered. Where packets get lost, those that try it do as well: there have
// to be so many that it is not likely of all.
func patienceOf(rtt time.Duration, loss float64) patience {
	p := min(max(minTry, time.Duration(tryRTT*float64(rtt))), maxTry)
	return patience{p, 2*p + time.Duration(triesOf(loss)-1)*tryAgain}
}

// triesOf is how many tries have to fail until it is not likely any more that they
// were lost by the way.
func triesOf(loss float64) int {
	n := 1
	for all := loss; all > unlikely && n < maxTries; all *= loss {
		n++
	}
	return n
}

// waits takes since when data waits (zero: it does not), but not for longer than
// the path is in use. It reports whether the path has just become suspect.
func (t *trial) waits(since time.Time, p patience, now time.Time) (suspect bool) {
	switch {
	case since.IsZero():
		if !t.since.IsZero() && now.Sub(t.waited) >= giveUpFor {
			*t = t.over(now)
		}
		return false
	case now.Sub(since) < p.try:
		return false
	}
	t.begin(now)
	return now.Sub(since) >= p.suspect && t.refuted(now)
}

// doubt takes the peer's word that it does not hear the answer to its data: what we
// send may get lost.
func (t *trial) doubt(now time.Time) {
	t.begin(now)
	if t.suspect.IsZero() {
		t.suspect, t.theirs = now, true
	}
}

func (t *trial) begin(now time.Time) {
	t.waited = now
	if t.since.IsZero() {
		t.since, t.next = now, now
	}
}

// refuted takes that the peer has not heard what was sent: it is suspect at once.
func (t *trial) refuted(now time.Time) bool {
	if !t.suspect.IsZero() && !t.theirs {
		return false
	}
	t.begin(now)
	t.suspect, t.theirs = now, false
	return true
}

// proved says whether the trial ends, where the peer has heard data on the path at
// that time, and whether others, that may be better, have yet to show if they carry.
func (t *trial) proved(heard time.Time, open bool, now time.Time) bool {
	if t.since.IsZero() || heard.Before(t.since) {
		return false
	}
	if t.proof.IsZero() {
		t.proof = now
	}
	return t.suspect.IsZero() || !open || now.Sub(t.proof) >= openFor
}

// over is what is left of a trial that ends: what it takes not to make session after
// session for path after path.
func (t *trial) over(now time.Time) trial {
	if now.Sub(t.session) >= quietFor {
		return trial{}
	}
	return trial{session: t.session, sessions: min(t.sessions, 2)}
}

// tries says whether the path is to be tried now.
func (t *trial) tries(now time.Time) bool {
	if t.since.IsZero() || t.next.After(now) {
		return false
	}
	t.next = now.Add(t.every(now))
	return true
}

func (t *trial) every(now time.Time) time.Duration {
	if now.Sub(t.since) < calmAfter {
		return tryAgain
	}
	return tryCalmer
}

// wantsSession says whether a new session is to be made now, as one of several
// that are further and further apart.
func (t *trial) wantsSession(now time.Time) bool {
	if t.suspect.IsZero() || t.theirs || !t.proof.IsZero() || t.session.After(now) {
		return false
	}
	t.session = now.Add(min(sessionMin<<min(t.sessions, 8), sessionMax))
	t.sessions++
	return true
}

// under takes that a session began at a time, for whatever reason and on whichever
// side: the next is to be later by as much as another would be.
func (t *trial) under(began time.Time) {
	if !t.since.IsZero() {
		t.session = later(t.session, began.Add(sessionMin))
	}
}

// at is when waits or tries has to be called again at the latest, where data waits
// since then; zero: not.
func (t *trial) at(since time.Time, p patience) (at time.Time) {
	if !since.IsZero() {
		if t.since.IsZero() {
			at = since.Add(p.try)
		} else if t.suspect.IsZero() {
			at = since.Add(p.suspect)
		}
	}
	if !t.since.IsZero() {
		at = sooner(at, t.next) // no later than a proof has to be looked at
		if !t.theirs && !t.suspect.IsZero() && t.proof.IsZero() {
			at = sooner(at, t.session)
		}
	}
	return at
}
