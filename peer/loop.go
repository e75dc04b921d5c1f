package peer

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/time/rate"
)

const (
	// attemptFor is how long a generation may go without a valid pair.
	attemptFor = 15 * time.Second

	// preferFor is how long a new generation with only a relayed pair leaves
	// the path to an old one that is direct and works; preferFewer to one that
	// leads through fewer relays, which it will find, too.
	preferFor   = 5 * time.Second
	preferFewer = time.Second

	// silent is how long no tunnel packet has come from a peer that is taken
	// for unreachable when ICE says so, too.
	silent = 5 * time.Second

	// yield is how much longer the side that is not the Offerer waits, so
	// that offers seldom cross.
	yield = time.Second

	// wokenFor is how long packets are taken to wait after Wake.
	wokenFor = 30 * time.Second
)

// loop is the state of a running Peer; its goroutine owns it all. Each round
// it takes the news, looks at the pairs, does what is due, and sleeps until
// something else is.
//
//	          offer sent or opened             valid pair
//	(none) ──────────────────────► next ─────────────────────► current
//	                                │ 15 s without a pair         │ replaced
//	                                ▼                             ▼
//	                              closed                        closed
type loop struct {
	p *Peer

	online      bool
	atHub       bool // the hub has told the peer's epoch
	onlineSince time.Time
	woken       time.Time // Wake came last

	current *generation // proved; its pairs are the path
	next    *generation // offered, or checking
	offer   *offer      // of next, while unanswered
	ahead   [][]byte    // frames that may have overtaken its answer
	offers  *rate.Limiter
	proof   func() // call it when the peer shows that it has our answer

	resting *resting // instead of current
	restart string   // why a new generation is wanted; empty: it is not
	urgent  bool     // and at once, whoever offers as a rule
	retry   retry
	upgrade upgrade

	keepAt  time.Time // when current wants keep again; zero: not
	path    choice    // the newest; its pair may be of a closed generation
	hasPath bool
	movedAt time.Time // the path's begin

	trial    trial // of the path
	doubts   doubts
	flowed   time.Time // when there was data last
	heard    time.Time // when the peer has heard data on the path
	doubted  time.Time // when the peer said last that it is in doubt of its path
	armedAt  time.Time // when it was asked last to be told of data
	unheard  unheard   // data on the path that it has not
	proofAt  time.Time // when a trial last ended with a proof
	stream   listener
	spreadTo []Path
	tried    map[Path]time.Time // since when small packets leave by them in this trial
	spreadAt time.Time          // when spread has to look again; zero: not

	changes int // of the underlay, that were acted on

	sizing sizing
	story  story
}

func newLoop(p *Peer) *loop {
	return &loop{p: p, doubts: make(doubts), tried: make(map[Path]time.Time), changes: p.cfg.Underlay.changes().count, offers: rate.NewLimiter(offerRate, offerBurst), proof: func() {}}
}

func (l *loop) run(ctx context.Context) {
	defer l.shut()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.p.in.wake:
		case <-timer.C:
		}
		now := time.Now()
		l.take(l.p.in.take(), now)
		l.gather()
		l.prove(now)
		l.choose(now)
		l.judge(now)
		l.spread(now)
		l.keep(now)
		l.probe(now)
		l.expire(now)
		l.attempt(now)
		l.publish(now) // first: what is sent may depend on it
		l.send(now)
		if at := l.due(now); at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(time.Until(at), time.Millisecond))
		}
	}
}

// take handles the news.
func (l *loop) take(n news, now time.Time) {
	atHub := n.online && n.epoch != 0
	if n.online && !l.online || atHub && !l.atHub {
		l.onlineSince = now
		l.retry.succeeded() // what failed before it came says nothing
		if l.offer != nil {
			l.offer.due, l.offer.wait = now, 0
		}
	}
	l.online, l.atHub = n.online, atHub
	if n.woken {
		l.woken = now
	}
	if n.online && l.p.cfg.Pair.SetRemoteEpoch(n.epoch) {
		l.renewed(now)
	}
	for _, b := range n.sealed {
		l.open(b, now)
	}
	for _, b := range n.notes {
		l.seal(message{Type: typeNote, Note: b}, l.p.cfg.SendNote)
	}
	l.shake(n.shake)
	if n.woken {
		l.resting = nil
	}
	if n.rest {
		l.rest(now)
	}
}

// renewed notes that the peer runs anew: what it had is gone, what was offered
// to the run before is void.
func (l *loop) renewed(now time.Time) {
	l.retry.succeeded()
	l.onlineSince = now
	if l.current != nil {
		l.current.void = true
	}
	if l.current != nil || l.next != nil || l.resting != nil {
		l.restart = "peer restarted"
		l.event(now, slog.LevelDebug, l.restart, l.restart)
	}
}

// gather passes new local candidates on to the sessions. Where an address that
// a session was made with is gone, or came after it was settled, the session
// is made anew.
func (l *loop) gather() {
	if c := l.p.cfg.Underlay.changes(); c.count != l.changes {
		l.changes = c.count
		if l.current != nil || l.next != nil || l.resting != nil {
			l.restartNow(c.why)
		}
	}
	for _, g := range []*generation{l.current, l.next} {
		if g == nil {
			continue
		}
		before := len(g.hosts)
		g.gather()
		gone := g.stale()
		if g == l.current && l.next == nil && (len(g.hosts) != before || gone) ||
			g == l.next && gone {
			l.restartNow("addresses changed")
		}
	}
	if l.resting != nil && l.next == nil && l.resting.stale(l) {
		l.restartNow("addresses changed")
	}
	// Of a relayed path, the peer may be the one that uses our relay.
	if l.hasPath && !l.path.direct() && l.current != nil && l.next == nil && l.current.lostRelay() {
		l.restartNow("relay lost")
	}
}

// restartNow asks for a new generation at once, for what this side alone may know.
func (l *loop) restartNow(why string) { l.restart, l.urgent = why, true }

// choose moves the path to the best pair there is. It never takes it away.
func (l *loop) choose(now time.Time) {
	if l.next != nil {
		if c, ok := l.next.checks.best(now, verdict{avoid: l.doubts.avoid}); ok && l.takesOver(c, now) {
			l.promote()
		}
	}
	if l.current == nil {
		return
	}
	c, ok := l.current.checks.best(now, l.verdict())
	if !ok {
		return
	}
	moved := !l.hasPath || c.path() != l.path.path()
	nominated := c.nominated && (moved || !l.path.nominated)
	old, had := l.path, l.hasPath
	l.path, l.hasPath = c, true
	l.upgrade.relayed(!c.direct(), now)
	if moved {
		l.movedAt, l.unheard, l.heard = now, nil, time.Time{}
		l.moved(now, old, had)
		l.p.cfg.OnPath(c.path())
		l.resize()
	}
	if nominated {
		l.nominated(now, c)
	}
}

// keep has the pairs of current checked that are to be.
func (l *loop) keep(now time.Time) {
	l.keepAt = time.Time{}
	if l.current != nil {
		// Where the peer is in doubt it takes both to open other ways for its data.
		l.keepAt = l.current.keep(now, eagerness{
			trial: l.trial.since, suspect: !l.trial.suspect.IsZero() || now.Sub(l.doubted) < helpFor, flowing: now.Sub(l.flowed) < flowFor, moved: l.movedAt,
		})
	}
}

// attrs is how the log describes the pair.
func (c choice) attrs() []any {
	return []any{"path", c.kind(), "local", c.key.conn.local, "remote", c.key.remote, "type", c.remoteType, "rtt", c.rtt}
}

// kind is what the pair makes of the path.
func (c choice) kind() PathKind {
	if c.direct() {
		return PathDirect
	}
	return PathRelayed
}

// takesOver says whether next, with the pair c, is to replace current.
func (l *loop) takesOver(c choice, now time.Time) bool {
	if l.current == nil || l.current.void {
		return true
	}
	old, ok := l.current.checks.best(now, l.verdict())
	if ok && l.doubts.avoid(c.path()) && !l.doubts.avoid(old.path()) {
		return false // it will find what carries data, too
	}
	if !ok || c.relays() <= old.relays() || !l.trial.suspect.IsZero() && old.valid.Before(l.trial.since) {
		return true
	}
	prefer := preferFor
	if !old.direct() {
		prefer = preferFewer
	}
	return now.Sub(l.next.started) > prefer
}

// promote makes next current. The peer may not have come so far: it will go
// on with the old session, whose path needs no agent of ours.
func (l *loop) promote() {
	if l.current != nil {
		l.current.close()
	}
	l.current, l.next, l.offer, l.resting = l.next, nil, nil, nil
	l.retry.succeeded()
}

// expire ends a session that found nothing in its time.
func (l *loop) expire(now time.Time) {
	if n := l.next; n != nil && !n.started.IsZero() && now.Sub(n.started) >= attemptFor {
		l.failed(n, now)
		l.drop(now)
	}
}

// drop ends next without success.
func (l *loop) drop(now time.Time) {
	l.abandon()
	l.retry.failed(now)
}

// abandon ends next for another.
func (l *loop) abandon() {
	if l.next != nil {
		l.next.close()
		l.next, l.offer = nil, nil
	}
}

// shut ends everything, and tells the peer.
func (l *loop) shut() {
	l.useSize(BasePayload)
	l.bye()
	l.abandon()
	if l.current != nil {
		l.current.close()
	}
	l.current, l.hasPath = nil, false
	l.p.snap.Store(&Snapshot{State: Idle, Path: PathNone})
	l.p.shown.Store(new(shown))
}
