package peer

import (
	"log/slog"
	"slices"
	"time"
)

// flowFor is how long after data waited last there counts as being some.
const flowFor = 2 * time.Second

// helpFor is how long after its word that it is in doubt the peer is taken to be.
const helpFor = time.Second

// armEvery is the least time between two times that the loop is told of data.
const armEvery = 100 * time.Millisecond

// prove watches whether data passes on the path, and acts where it does not.
func (l *loop) prove(now time.Time) {
	l.arm(now)
	waiting := l.waiting()
	l.noteLeft(waiting, now)
	missed := l.stream.came(l.p.cfg.Tunnel.Last(), now)
	if l.current == nil {
		l.calm(now)
		if l.hasPath && !waiting.IsZero() && now.Sub(waiting) >= l.path.patience().suspect {
			l.lostPath(now) // nobody is there to ask: a new session tells
		}
		return
	}
	if l.current.checks.takeDoubt() && l.hasPath {
		l.doubted = now
		if now.Sub(l.heard) > l.path.patience().suspect {
			l.trial.doubt(now)
		}
	}
	if waiting.IsZero() && l.hasPath && !missed.IsZero() {
		waiting = later(missed, l.movedAt)
	}
	if l.trial.waits(waiting, l.path.patience(), now) {
		l.event(now, slog.LevelInfo, "suspect: data waits for an answer "+l.path.place(), "path is suspect", "waited", now.Sub(waiting), "remote", l.path.key.remote, "rtt", l.path.rtt)
	}
	l.current.checks.doubt(!l.trial.suspect.IsZero() && !l.trial.theirs)
	for _, g := range []*generation{l.current, l.next} {
		if g != nil {
			l.trial.under(later(g.made, g.started))
		}
	}
	if l.trial.wantsSession(now) {
		l.restartNow("data is not answered")
	}
	if l.trial.tries(now) {
		// Data that goes one way only is tried again and again, which is no
		// reason to ask the servers.
		if !l.trial.suspect.IsZero() || now.Sub(l.proofAt) >= flowFor {
			l.p.cfg.Underlay.suspect(now)
		}
		l.p.cfg.Tunnel.Probe()
	}
}

// arm has data that leaves told again. Not at once, or a busy tunnel would keep the
// loop as busy.
func (l *loop) arm(now time.Time) {
	if !l.p.armed.Load() && now.Sub(l.armedAt) >= armEvery {
		l.armedAt = now
		l.p.armed.Store(true)
	}
}

// noteLeft notes data that has left on the path, whether the answer to it waits still
// or has come meanwhile: what the peer sends shows nothing of what it gets.
func (l *loop) noteLeft(waiting, now time.Time) {
	left := later(time.Unix(0, l.p.left.Load()), waiting)
	l.flowed = later(l.flowed, left)
	if !waiting.IsZero() {
		l.flowed = now
	}
	if left.After(l.heard) && !left.Before(l.movedAt) {
		l.unheard.left(left)
	}
}

// waiting is since when data waits on this path. Which data a path carried that is
// gone by now says nothing of the present one.
func (l *loop) waiting() time.Time {
	since := l.p.cfg.Tunnel.Waiting()
	if since.IsZero() || !l.hasPath {
		return time.Time{}
	}
	return later(since, l.movedAt)
}

// lostPath has a session made where there is none, for data that is not answered.
func (l *loop) lostPath(now time.Time) {
	if l.next != nil || l.restart != "" || l.woken.Equal(now) {
		return
	}
	l.resting, l.woken = nil, now
}

// judge takes what the receipts say: of the path, and of those that were in doubt.
func (l *loop) judge(now time.Time) {
	if l.current == nil || !l.hasPath {
		return
	}
	valid := l.current.checks.validNow(now)
	for _, c := range valid {
		l.doubts.sees(c.path(), now)
		if l.doubts.carried(c.path(), c.heard) {
			l.event(now, slog.LevelInfo, "data passes again "+c.place(), "path carries data again", "remote", c.key.remote)
		}
	}
	path, ok := l.current.checks.describe(l.path.key, now)
	if !ok {
		return
	}
	l.heard = path.heard
	if waiting := l.p.cfg.Tunnel.Waiting(); !waiting.IsZero() && !path.heard.Before(waiting) {
		l.p.cfg.Tunnel.Answered()
	}
	l.refute(path, now)
	dead, open := l.unproved(valid, now)
	if !l.trial.proved(path.heard, open, now) {
		return
	}
	if !l.trial.suspect.IsZero() {
		l.event(now, slog.LevelInfo, "proved: data passes "+path.place(), "path is proved", "after", now.Sub(l.trial.since), "remote", path.key.remote)
		l.current.checks.outdate(l.trial.since)
		for _, c := range dead {
			l.doubts.add(c.path(), now)
			l.event(now, slog.LevelInfo, "avoided: checks are answered but no data passes "+c.place(), "path answers checks and carries no data: avoided", "remote", c.key.remote)
		}
	}
	l.calm(now)
	l.stream.looked()
	l.proofAt = now
}

// unproved returns what answers checks, has had small packets to carry in this trial
// for as long as it takes, and did not; and whether there is some that had not yet.
func (l *loop) unproved(valid []choice, now time.Time) (dead []choice, open bool) {
	for _, c := range valid {
		at, tried := l.tried[c.path()]
		switch {
		case !tried || !c.heard.Before(l.trial.since) || l.doubts.avoid(c.path()):
		case now.Sub(at) >= c.patience().suspect:
			dead = append(dead, c)
		default:
			open = true
		}
	}
	return dead, open
}

// calm ends the trial.
func (l *loop) calm(now time.Time) {
	l.trial = l.trial.over(now)
	clear(l.tried)
}

// refute looks whether the receipts of the path show that the peer has not heard
// what was sent on it in a time in which it must have; or whether there are none,
// though asked for.
func (l *loop) refute(path choice, now time.Time) {
	l.unheard.heard(path.heard)
	since := l.unheard.since()
	if since.IsZero() {
		return
	}
	lost, p := path.told.Add(-path.rtt/2).Sub(since), path.patience()
	if !path.unanswered.IsZero() {
		lost = max(lost, now.Sub(later(since, path.unanswered).Add(path.rtt)))
	}
	switch {
	case lost >= p.suspect:
		if l.trial.refuted(now) {
			l.event(now, slog.LevelInfo, "suspect: the peer has not heard data "+path.place(), "path is suspect", "unheard", now.Sub(since), "remote", path.key.remote, "rtt", path.rtt)
		}
	case lost >= p.try:
		l.trial.begin(now)
	}
}

// verdict is what the proof says of the pairs of current.
func (l *loop) verdict() verdict {
	v := verdict{avoid: l.doubts.avoid}
	if !l.trial.suspect.IsZero() {
		v.since = l.trial.since
	}
	return v
}

// spread has small packets leave by all paths that are on trial.
func (l *loop) spread(now time.Time) {
	var paths []Path
	l.spreadAt = time.Time{}
	if l.current != nil && l.hasPath {
		if !l.trial.suspect.IsZero() {
			for _, c := range l.current.checks.validNow(now) {
				if !c.valid.Before(l.trial.since) && len(paths) < maxSpread {
					paths = append(paths, c.path())
					if _, known := l.tried[c.path()]; !known {
						l.tried[c.path()] = now
					}
				}
			}
		} else {
			paths, l.spreadAt = l.doubts.retry(now, now.Sub(l.flowed) < flowFor)
		}
	}
	paths = slices.DeleteFunc(paths, func(p Path) bool { return p == l.path.path() })
	if !slices.Equal(paths, l.spreadTo) {
		l.spreadTo = paths
		l.p.cfg.Tunnel.Spread(paths)
		l.p.cfg.Tunnel.Probe() // so that there is something to hear
	}
}

// maxSpread bounds the copies of a packet.
const maxSpread = 6

// proveAt is when prove or spread has to look again; zero: not, as things stand.
func (l *loop) proveAt(now time.Time) time.Time {
	waiting := l.waiting()
	var at time.Time
	if !l.p.armed.Load() {
		at = l.armedAt.Add(armEvery)
	}
	if l.current != nil {
		at = sooner(at, l.stream.at(l.path.patience(), now))
		return sooner(at, sooner(l.trial.at(waiting, l.path.patience()), l.spreadAt))
	}
	if !waiting.IsZero() {
		at = sooner(at, later(waiting.Add(l.path.patience().suspect), now.Add(tryEvery)))
	}
	return at
}
