package tunnel

import (
	"time"

	"github.com/p2ptun/p2ptun/signaling"
)

// aloneAfter is how long a start waits for the hub before members are sought
// without it.
const aloneAfter = 300 * time.Millisecond

// reachable says whether a message to a member has any way to go: the hub, an
// address, or somebody who may be connected to it.
func (n *Node) reachable(m *member) bool {
	return m.online || n.near > 0 || m.ways != nil && m.ways.any()
}

// alone says whether there is no hub, as far as can be told so soon.
func (n *Node) alone(now time.Time) bool {
	return !n.link.up && (n.link.said != "" || now.Sub(n.ready.started) >= aloneAfter)
}

// setOnline takes whether a member is at the hub, and tells its session.
func (n *Node) setOnline(m *member, epoch signaling.Epoch) {
	m.setOnline(epoch)
	n.noteEpoch(m, epoch)
	if m.active != nil {
		m.active.atHub.Store(m.online)
		n.tellReachable(m.active)
	}
}

// tellReachable tells a session whether its member can be reached. One that nothing
// proves yet is not told: it would make an offer of its own.
func (n *Node) tellReachable(a *active) {
	if a.idle.proved {
		a.told = n.reachable(a.member)
		a.session.SetOnline(a.told, n.present[a.record.Node])
	}
}

// pollReachable tells the sessions what has changed.
func (n *Node) pollReachable(now time.Time) {
	before := n.near
	n.near = 0
	for _, a := range n.active {
		if now.Sub(a.heard) < lively {
			n.near++
		}
	}
	if before == 0 && n.near > 0 {
		n.wantWaiting()
	}
	for _, a := range n.active {
		if a.idle.proved && a.told != n.reachable(a.member) {
			n.tellReachable(a)
		}
	}
}

// askAgain has a peer that is here now pass on what others have not answered.
func (n *Node) askAgain(here *active) {
	for _, a := range n.active {
		if sealed := a.ways.waiting(); sealed != nil && a != here {
			n.outgoing(a, sealed).byMutual(time.Now())
		}
	}
}

// wantWaiting begins sessions with the idle members for whom packets wait.
func (n *Node) wantWaiting() {
	for _, m := range n.members {
		if m.active == nil && n.tunnel.gate.waits(m.door) {
			n.want(m)
		}
	}
}
