package peer

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/signaling"
)

// Waits between two sendings of an offer that is not answered.
const (
	offerWait    = time.Second // doubling
	offerMaxWait = 10 * time.Second

	// offerFor is how long one offer is sent; then another takes its place,
	// because the generation that answered the first may be gone.
	offerFor = 30 * time.Second
)

// offer is an offer of ours on its way; the same bytes go again and again.
type offer struct {
	sealed []byte
	lines  int // local candidates in it
	made   time.Time
	due    time.Time
	wait   time.Duration
}

// propose makes a new generation and offers it.
func (l *loop) propose(now time.Time) {
	l.abandon()
	g := l.newGeneration(now)
	if g == nil {
		return
	}
	d := g.describe()
	d.Handshake = l.p.cfg.Handshake()
	sealed, err := l.p.cfg.Pair.Offer(encode(d))
	if err != nil {
		l.p.cfg.Log.Warn("sealing an offer failed", "err", err)
		g.close()
		l.retry.failed(now)
		return
	}
	l.next, l.ahead = g, nil
	l.offer = &offer{sealed: sealed, lines: len(g.trickle.lines), made: now, due: now}
}

func (l *loop) newGeneration(now time.Time) *generation {
	g, err := newGeneration(l.p.cfg.Underlay, l.p.in.poke, l.p.cfg.OnSource, l.p.cfg.Tunnel.Heard)
	if err != nil {
		l.p.cfg.Log.Warn("making an ICE session failed", "err", err)
		l.retry.failed(now)
		return nil
	}
	g.checks.setHope(l.p.cfg.OnHope)
	g.checks.loss = l.path.loss // the network is the same
	return g
}

// send sends what is due: the offer, and the lists of candidates.
func (l *loop) send(now time.Time) {
	if o := l.offer; o != nil && l.online && !o.due.After(now) {
		l.p.cfg.Send(o.sealed)
		o.wait = min(max(2*o.wait, offerWait), offerMaxWait)
		o.due = now.Add(o.wait)
	}
	for _, g := range []*generation{l.current, l.next} {
		if g == nil || g.started.IsZero() {
			continue
		}
		g.trickle.owed = g.trickle.owed || g.told != g.vicinity
		if m, ok := g.trickle.next(g.ufrag, now); ok {
			m.Mapping, m.Blocked, g.told = g.vicinity.mapping, g.vicinity.blocked, g.vicinity
			l.seal(m, l.p.cfg.Send)
		}
	}
}

func (l *loop) seal(m message, send func([]byte)) {
	sealed, err := l.p.cfg.Pair.Seal(encode(m))
	if err != nil {
		return // the session ended under us, and another begins
	}
	send(sealed)
}

// Offers that are opened: each takes two key encapsulations and a new agent.
// An honest peer sends one in a second at the most.
const (
	offerRate  = 1 // per second
	offerBurst = 10
)

var errOffers = errors.New("more offers than anybody needs")

// crossFor is how long an offer may be late that the peer made before it answered
// ours.
const crossFor = time.Second

// crossed says whether an offer of the peer's is likely to be void: ours stands,
// as that of the Offerer does, and has just been answered. To follow it would
// leave the peer alone in the session that is being checked. One that is none of
// these comes again.
func (l *loop) crossed(now time.Time) bool {
	return l.p.cfg.Offerer && l.next != nil && l.next.ours && now.Sub(l.next.started) < crossFor
}

// open handles a sealed message of the peer.
func (l *loop) open(sealed []byte, now time.Time) {
	if signaling.IsOffer(sealed) && l.crossed(now) {
		return
	}
	if signaling.IsOffer(sealed) && !l.p.cfg.Pair.Repeats(sealed) && !l.offers.AllowN(now, 1) {
		l.p.cfg.Underlay.drops.message(l.p.cfg.Log, errOffers)
		return
	}
	ev, err := l.p.cfg.Pair.Open(sealed)
	if err == nil {
		switch ev.Kind {
		case signaling.EventOffer:
			err = l.offered(ev.Content, now)
		case signaling.EventAnswer:
			err = l.answered(ev, now)
		case signaling.EventMessage:
			if ev.Newest {
				l.proof()
			}
			err = l.told(ev.Content, now)
		case signaling.EventStale:
			l.renewed(now)
		}
	}
	switch {
	case err != nil && l.overtook(sealed):
	case err != nil:
		l.p.cfg.Underlay.drops.message(l.p.cfg.Log, err)
	case ev.Kind == signaling.EventOffer || ev.Kind == signaling.EventAnswer:
		l.p.cfg.OnSession(ev.At)
	}
	if ev.Reply != nil {
		l.p.cfg.Send(ev.Reply)
	}
	if ev.Kind == signaling.EventAnswer {
		l.catchUp(now)
	}
}

// offered answers the peer's offer with a new generation.
func (l *loop) offered(content []byte, now time.Time) error {
	d, err := decodeDescription(content)
	if err != nil {
		return err
	}
	l.abandon()
	if l.current != nil {
		l.p.cfg.Underlay.suspect(now) // the reason may be on our side
	}
	g := l.newGeneration(now)
	if g == nil {
		return nil
	}
	sealed, key, err := l.p.cfg.Pair.Answer(encode(g.describe()))
	if err != nil {
		g.close()
		return err
	}
	l.p.cfg.Keys.Pending(key)
	l.proof = sync.OnceFunc(func() { l.p.cfg.Keys.Proved(key) })
	g.checks.setProof(l.proof)
	// An answer that is lost is sent again when the offer comes again, so
	// for the peer to go on it must have arrived.
	g.trickle.described(len(g.trickle.lines), len(d.Candidates))
	if err := g.start(d, l.p.cfg.Controlling, now); err != nil {
		g.close()
		return err
	}
	l.next, l.restart, l.urgent = g, "", false
	l.event(now, slog.LevelDebug, "session offered by the peer, answered", "offer answered")
	l.upgrade.tried(now) // one side's attempt serves both
	l.p.cfg.Send(sealed)
	if len(d.Handshake) > 0 {
		l.p.cfg.OnHandshake(d.Handshake) // its answer follows ours
	}
	return nil
}

// answered starts the generation that was offered.
func (l *loop) answered(ev signaling.Event, now time.Time) error {
	l.p.cfg.Keys.Agreed(ev.Preshared)
	l.proof = func() {}
	d, err := decodeDescription(ev.Content)
	if err != nil || l.offer == nil {
		return err
	}
	l.next.trickle.described(l.offer.lines, len(d.Candidates))
	l.next.trickle.owed = true // that the answer has come: the peer speaks as before until it hears it
	l.offer, l.next.ours = nil, true
	l.event(now, slog.LevelDebug, "session answered by the peer", "offer was answered")
	if err := l.next.start(d, l.p.cfg.Controlling, now); err != nil {
		l.drop(now)
		return err
	}
	return nil
}

// told handles a message inside the session.
func (l *loop) told(content []byte, now time.Time) error {
	m, err := decodeMessage(content)
	if err != nil {
		return err
	}
	if m.Type == typeNote {
		l.p.cfg.OnNote(m.Note)
		return nil
	}
	if m.Type == typeHandshake {
		l.p.cfg.OnHandshake(m.Note)
		return nil
	}
	if l.resting != nil && m.Type == typeBye && l.resting.remoteUfrag == m.Ufrag {
		l.resting = nil
		l.retry.failed(now)
		l.p.cfg.OnBye()
		return nil
	}
	for _, g := range []*generation{l.current, l.next} {
		if g == nil || g.started.IsZero() || g.remoteUfrag != m.Ufrag {
			continue
		}
		switch m.Type {
		case typeCandidates:
			g.trickle.receive(m)
			g.remoteVicinity, g.remoteEnd = vicinity{m.Mapping, m.Blocked}, m.End
			g.take(m.Candidates)
		case typeBye:
			l.left(g, now)
		}
		return nil
	}
	return nil
}

// left ends the session that the peer has ended. The path stays: it is the
// tunnel's to find out that nobody answers there.
func (l *loop) left(g *generation, now time.Time) {
	l.event(now, slog.LevelDebug, "session ended by the peer", "session ended by the peer")
	if g == l.next {
		l.drop(now)
		return
	}
	l.current.close()
	l.current = nil
	l.retry.failed(now)
	l.p.cfg.OnBye()
}

// bye tells the peer that this side ends.
func (l *loop) bye() {
	if l.resting != nil {
		l.seal(message{Type: typeBye, Ufrag: l.resting.ufrag}, l.p.cfg.Send)
	}
	for _, g := range []*generation{l.current, l.next} {
		if g != nil && !g.started.IsZero() {
			l.seal(message{Type: typeBye, Ufrag: g.ufrag}, l.p.cfg.Send)
		}
	}
}
