package peer

import "time"

// story is what the loop remembers for Snapshot alone.
type story struct {
	relayed        time.Time // of a relayed path: since when it is
	pairs, checked int       // of the last session that failed
	nominated      pairKey   // as it was told
}

// explain fills in what holds the peer back.
func (l *loop) explain(s *Snapshot, now time.Time) {
	s.Next, _ = l.nextAttempt(now)
	s.Resting = l.resting != nil
	s.Suspect, s.Unheard = l.suspect(now)
	s.Pairs, s.Checked = l.story.pairs, l.story.checked
	if l.offer != nil {
		s.Offered = l.offer.made
	}
	shown := new(shown)
	if l.hasPath {
		shown.path = l.path.key
	}
	for _, g := range []*generation{l.next, l.current} { // what the newer knows counts last
		if g == nil {
			continue
		}
		shown.checks = append(shown.checks, g.checks)
		if g.started.IsZero() {
			continue
		}
		if g.remoteVicinity.mapping != MappingUnknown {
			s.RemoteMapping = g.remoteVicinity.mapping
		}
		s.RemoteBlocked = g.remoteVicinity.blocked
		s.RemoteHidden = g.remoteEnd && g.checks.hidden()
		s.Apart = g.remoteEnd && g.checks.apart()
	}
	if l.hasPath && !l.path.direct() {
		s.Relayed, s.Avoided = l.story.relayed, l.avoided(now)
		for _, c := range shown.checks {
			at := c.direct()
			s.Relayed = later(s.Relayed, at)
			s.DirectValid = s.DirectValid || !at.IsZero() && now.Sub(at) < validFor
		}
	}
	l.p.shown.Store(shown)
}

// suspect says whether data waits for longer than it should, or so the peer says.
func (l *loop) suspect(now time.Time) (is, unheard bool) {
	if !l.hasPath {
		return false, false
	}
	if t := &l.trial; !t.suspect.IsZero() {
		return true, t.theirs
	}
	waiting := l.waiting()
	return !waiting.IsZero() && now.Sub(waiting) >= l.path.patience().suspect, false
}

// avoided is since when a pair is in doubt that would be the path else.
func (l *loop) avoided(now time.Time) (since time.Time) {
	if l.current == nil {
		return since
	}
	for _, c := range l.current.checks.validNow(now) {
		if d := l.doubts[c.path()]; d != nil && c.direct() {
			since = sooner(since, d.since)
		}
	}
	return since
}

// hidden says whether the peer has announced addresses of relays alone.
func (s *checks) hidden() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.announced {
		if a.typ != Relayed {
			return false
		}
	}
	return len(s.announced) > 0
}

// apart says whether both sides have addresses besides those of relays, and no two of
// them make a pair: one has IPv4 alone, the other IPv6.
func (s *checks) apart() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	here, there := false, false
	for _, c := range s.conns {
		here = here || c.relay == nil
	}
	for _, a := range s.announced {
		there = there || a.typ != Relayed
	}
	for k := range s.pairs {
		if k.conn.relay == nil && s.announced[k.remote].typ != Relayed {
			return false
		}
	}
	return here && there
}

// direct is when a direct pair has last answered; zero: none has.
func (s *checks) direct() (at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, p := range s.pairs {
		if k.conn.relay == nil && s.announced[k.remote].typ != Relayed {
			at = later(at, p.valid)
		}
	}
	return at
}
