package peer

import (
	"log/slog"
	"time"
)

// attempt begins a new generation if one is wanted now.
func (l *loop) attempt(now time.Time) {
	at, why := l.nextAttempt(now)
	if why == "" || at.After(now) {
		return
	}
	l.restart, l.urgent = "", false
	l.upgrade.tried(now)
	l.event(now, slog.LevelDebug, "session offered: "+why, "new ICE session", "why", why)
	l.propose(now)
}

// nextAttempt is when a new generation is wanted from this side, and why;
// zero: not, as things stand. What is wanted here:
//
//   - a session at all, as soon as the peer is online;
//   - another, when something said so (restart);
//   - another, when neither ICE nor the tunnel hears the peer any more;
//   - another, when the path is relayed, in case a direct one is possible by
//     now.
func (l *loop) nextAttempt(now time.Time) (at time.Time, why string) {
	switch {
	case !l.online:
		return time.Time{}, ""
	case l.restart != "" && l.urgent:
		return l.retry.at(true), l.restart
	case l.restart != "":
		return l.lead(later(l.onlineSince, l.retry.at(true))), l.restart
	case l.offer != nil:
		return l.offer.made.Add(offerFor), "offer is not answered"
	case l.next != nil:
		return time.Time{}, ""
	case l.resting != nil:
		return l.lead(later(l.resting.until(l), l.retry.at(true))), "peer is not heard"
	case l.current == nil && now.Sub(l.woken) < wokenFor:
		return later(l.onlineSince, l.retry.at(true)), "packets wait"
	case l.current == nil:
		return l.lead(later(l.onlineSince, l.retry.at(false))), "peer is online"
	}
	at, why = l.lead(later(l.deadAt(now), l.retry.at(true))), "peer is not heard"
	if up := l.upgrade.at(); !up.IsZero() && l.lead(up).Before(at) {
		at, why = l.lead(up), "path is relayed"
	}
	return at, why
}

// lead leaves the Offerer the first try.
func (l *loop) lead(at time.Time) time.Time {
	if l.p.cfg.Offerer {
		return at
	}
	return at.Add(yield)
}

// deadAt is when the peer of the current session counts as out of reach, if
// nothing is heard of it until then.
func (l *loop) deadAt(now time.Time) time.Time {
	return later(l.current.checks.newest().Add(validFor), now.Add(silent-l.silence(now)))
}

// proved says whether a check has lately proved the path's session.
func (l *loop) proved(now time.Time) bool {
	return l.current != nil && now.Sub(l.current.checks.newest()) < validFor
}

// silence is how long no authentic packet of the tunnel has come.
func (l *loop) silence(now time.Time) time.Duration {
	alive := l.p.cfg.Alive()
	if alive.IsZero() {
		return silent
	}
	return min(now.Sub(alive), silent)
}

// due is when the loop has to look again by itself; zero: never.
func (l *loop) due(now time.Time) time.Time {
	at := l.proveAt(now)
	if next, why := l.nextAttempt(now); why != "" {
		at = sooner(at, later(next, now))
	}
	if l.offer != nil && l.online {
		at = sooner(at, l.offer.due)
	}
	for _, g := range []*generation{l.current, l.next} {
		if g != nil && !g.started.IsZero() {
			at = sooner(at, g.trickle.at(now))
		}
	}
	if l.next != nil && !l.next.started.IsZero() {
		at = sooner(at, l.next.started.Add(attemptFor))
		for _, d := range []time.Duration{preferFewer, preferFor} {
			if prefer := l.next.started.Add(d); !prefer.Before(now) {
				at = sooner(at, prefer.Add(time.Millisecond))
			}
		}
	}
	at = sooner(at, l.keepAt)
	if l.canProbe(now) {
		at = sooner(at, l.sizing.search.at())
	}
	if l.current != nil { // for Snapshot
		at = sooner(at, now.Add(silent))
	}
	return at
}

// sooner returns the first of two times; zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// later returns the last of some times.
func later(times ...time.Time) time.Time {
	var last time.Time
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}
