package tunnel

import (
	"errors"
	"time"

	"github.com/p2ptun/p2ptun/signaling"
)

// A member is idle until a packet wants to go to it (gate.go), it makes an offer,
// or it is a neighbour (neighbours.go). While it is active, what tells whether it
// is needed is data: WireGuard's packets but handshakes and keepalives. Both
// sides see the same data, so both find at about the same time that there was
// none for idleAfter. A packet that one side sends just then must not meet a
// tunnel that the other has taken down, so none is sent by then: each side shuts
// its gate before it says that it would end, and ends when the other has said so
// as well and what was on its way is here.
//
//	one side                                  other side
//	 no data: gate shut ── 7 ───────────────►  no data either: gate shut
//	      ◄──────────────────────────── 7 ──
//	 0.3 s later: gone                         0.3 s later: gone
//
// One that has had data says nothing, and the first opens its gate again. What
// waited at a gate goes on by that, or by a new session.
//
// Where there is nobody to ask, because the other side is not heard any more, the
// tunnel just ends: it is made again by the hub, or without it (ways.go). While
// there is no hub, which makes that less sure, none is ended that works, but of
// those that are more than many.

const (
	// idleAfter is how long a tunnel without data is kept: as long as WireGuard
	// itself keeps the keys of a session that nobody wants to renew
	// (REJECT_AFTER_TIME). What asks once a minute, as monitoring does, always
	// finds the tunnel there; who comes later waits a tenth of a second.
	idleAfter = 3 * time.Minute

	// leaveFor is how long the other side may take to say that it, too, would end;
	// stayFor, how long the tunnel is kept when it does not.
	leaveFor = 3 * time.Second
	stayFor  = 30 * time.Second

	// onItsWay is how long packets may take that left before the gate was shut.
	onItsWay = 300 * time.Millisecond

	// keptAlone is how many tunnels are kept while there is no hub.
	keptAlone = 64

	// An offer of an idle member has to lead to a session within proveFor, and
	// only so many may be without one: whoever carries messages can make them
	// up, and each costs a session.
	proveFor    = 10 * time.Second
	maxUnproved = 64
)

// Other values for tests of the whole program, which set them when they link it.
var linkedIdleAfter, linkedNeighbours string

// linkedOr is such a value, or the usual one.
func linkedOr[T any](text string, parse func(string) (T, error), usual T) T {
	if v, err := parse(text); err == nil {
		return v
	}
	return usual
}

// idle is what there is to know about an active member's being needed.
type idle struct {
	since   time.Time // active since
	used    time.Time // last data, or begin
	proved  bool      // this side wants it, or it has shown that it is there
	leaving time.Time // this side would end; zero: it would not
	agreed  time.Time // the other side would, too
	kept    time.Time // it is a neighbour since; zero: it is none
	keptBy  bool      // this node is its neighbour
}

// met notes a new session. The other side says anew whether it keeps it.
func (i *idle) met(now time.Time) {
	if i.neighbour() {
		i.used = now // so that it comes to its best path before it rests
	}
	i.keptBy = false
}

// neighbour says whether the tunnel is kept without data.
func (i *idle) neighbour() bool { return !i.kept.IsZero() || i.keptBy }

// want makes a member active, for packets that wait.
func (n *Node) want(m *member) {
	if a := n.activate(m); a != nil {
		a.wantedNS.Store(time.Now().UnixNano())
		n.prove(a)
		a.session.Wake()
	}
}

// prove notes that a member's being active is no invention.
func (n *Node) prove(a *active) {
	if !a.idle.proved {
		a.idle.proved = true
		n.setOnline(a.member, n.present[a.record.Node])
	}
}

// wanted acts on the packets that have begun to wait at the gate. Those to a
// member that is not there wait until it is, for a while.
func (n *Node) wanted() {
	for _, d := range n.tunnel.gate.news() {
		if m := n.members[d.node]; m != nil && m.active == nil && n.reachable(m) {
			n.want(m)
		}
	}
}

// offered hands an idle member's message to a new session, if it is an offer. What
// else comes from one is late: of a session that has ended. An offer that is made
// up, or repeated, costs no more than to find that out.
func (n *Node) offered(m *member, sealed []byte) {
	if !signaling.IsOffer(sealed) {
		return
	}
	unproved := 0
	for _, a := range n.active {
		if !a.idle.proved {
			unproved++
		}
	}
	if unproved >= maxUnproved {
		n.refused("offer", errors.New("too many at once that come to nothing"))
		return
	}
	if a := n.activate(m); a != nil {
		a.session.Receive(sealed)
	}
}

// pollIdle ends what is not needed any more.
func (n *Node) pollIdle(now time.Time, a *active) {
	i := &a.idle
	if a.endpoint.used.Swap(false) {
		i.used = now
		a.wantedNS.Store(now.UnixNano())
		if a.rests() {
			a.session.Wake()
		}
		if !i.leaving.IsZero() && i.agreed.IsZero() {
			n.stay(a, now)
		}
	}
	switch {
	case !i.proved && now.Sub(i.since) >= proveFor:
		n.quit(a)
	case !i.leaving.IsZero():
		n.pollLeaving(now, a)
	case now.Sub(i.used) < n.idleAfter:
	case i.neighbour():
		a.rest(now)
	case now.Sub(a.heard) >= lively:
		n.quit(a)
	case n.link.up || len(n.active) > keptAlone:
		n.leave(now, a)
	}
}

// leave says that this side would end the tunnel.
func (n *Node) leave(now time.Time, a *active) {
	n.tunnel.gate.shut(a.door)
	a.idle.leaving = now
	for range 2 { // by the path, and by the hub
		a.tell([]byte{noteLeave})
	}
}

func (n *Node) pollLeaving(now time.Time, a *active) {
	i := &a.idle
	switch {
	case !i.agreed.IsZero() && now.Sub(i.agreed) >= onItsWay:
		n.quit(a)
	case i.agreed.IsZero() && now.Sub(i.leaving) >= leaveFor:
		n.stay(a, now.Add(min(stayFor-n.idleAfter, 0)))
	}
}

// stay takes back that this side would end.
func (n *Node) stay(a *active, used time.Time) {
	a.idle.leaving, a.idle.agreed, a.idle.used = time.Time{}, time.Time{}, used
	n.tunnel.gate.open(a.door)
}

// quit ends the tunnel; what waits at the gate already begins another.
func (n *Node) quit(a *active) {
	m := a.member
	n.deactivate(a)
	if n.tunnel.gate.waits(m.door) && n.reachable(m) {
		n.want(m)
	}
}

// leaves takes the word of the other side that it would end the tunnel.
func (n *Node) leaves(a *active) {
	i := &a.idle
	if !i.agreed.IsZero() || i.leaving.IsZero() && n.needed(a) {
		return
	}
	n.forsake(a)
	n.leave(time.Now(), a) // once more, where it was said: it may have been too soon
	i.agreed = i.leaving
}

// left is called when the other side has ended the session. Where this one needs
// it still, the session makes another.
func (n *Node) left(a *active) {
	n.forsake(a)
	if !a.idle.leaving.IsZero() || !n.needed(a) {
		n.quit(a)
	}
}

// needed says whether there was data lately, or the tunnel could not be made again.
// Two sides see the same data at moments that differ by a tick each.
func (n *Node) needed(a *active) bool {
	return !n.link.up && !a.ways.any() || a.endpoint.used.Load() || time.Since(a.idle.used) < n.idleAfter-2*tick
}

// again takes an active member's offer: it has nothing of the session before, or
// doubts it. Where both would have ended that, it has.
func (n *Node) again(a *active, sealed []byte) {
	switch i := &a.idle; {
	case !i.agreed.IsZero():
		n.deactivate(a)
		n.offered(a.member, sealed)
		return
	case !i.leaving.IsZero():
		n.stay(a, time.Now())
	}
	a.session.Receive(sealed)
}
