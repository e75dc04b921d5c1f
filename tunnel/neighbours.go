package tunnel

import (
	"math/rand/v2"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// What admins sign goes from node to node, so that a hub can hold nothing back
// (gossip.go). That takes tunnels that are there already, so each node keeps one
// with some others, which it draws anew in each run: nobody can arrange to be
// them, and no node has to bear more than any other. Two or more from each make
// one net of all nodes, but for a chance that is negligible; a third is for those
// among them that are hostile. In a network of four all are neighbours of all.
//
// A tunnel that is kept without data has no ICE session: WireGuard's keepalives
// hold the NATs open and show that it works, for one packet in 20 s each way, and
// what is sealed goes by its path. Data brings the checks back, so does silence.
//
//	one side                                 other side
//	 a session begins ── 8 ‖ 0 ────────────► keeps the tunnel
//	 no data ── 8 ‖ 1 ─────────────────────► ends its ICE session
//	 ends its ICE session

const (
	// neighbours is how many others a node keeps a tunnel with.
	neighbours = 3

	// keptByMost is how many others may have this node keep one with them: on
	// average it is as many as a node has neighbours.
	keptByMost = 12

	// Without the hub nobody says who is there. Who does not answer in hopeFor is
	// taken for one who is not, and others are tried as well; so many of them at
	// once.
	hopeFor     = 3 * time.Second
	hopeAtStart = time.Second // that `up` waits for them
	maxHoped    = 24

	// shunFor is how long a neighbour that was lost is not chosen again.
	shunFor = time.Minute
)

// tellKept tells a neighbour that it is one, and whether the tunnel is to rest.
func (a *active) tellKept(rest byte) {
	if a.idle.kept.IsZero() {
		return
	}
	a.tellTwice([]byte{noteNeighbour, rest})
}

// rest ends the ICE session with a neighbour, and keeps the tunnel.
func (a *active) rest(now time.Time) {
	if !a.idle.kept.IsZero() && !a.rests() && now.Sub(a.heard) < lively {
		a.tellKept(1)
		a.session.Rest()
	}
}

// rests says whether there is no ICE session.
func (a *active) rests() bool { return a.session.Snapshot().ICE == "" }

// isKept takes the word of the other side that this node is its neighbour, and
// whether the tunnel is to rest.
func (n *Node) isKept(a *active, rest byte) {
	count := 0
	for _, other := range n.active {
		if other.idle.keptBy && other != a {
			count++
		}
	}
	if count >= keptByMost {
		return // this side says in time that it would end
	}
	if i := &a.idle; !i.leaving.IsZero() {
		n.stay(a, time.Now())
	}
	a.idle.keptBy = true
	if rest != 0 {
		a.session.Rest()
	}
}

// forsake makes a member no neighbour any more, either way.
func (n *Node) forsake(a *active) {
	if !a.idle.kept.IsZero() {
		a.shunned, n.seek = time.Now().Add(shunFor), time.Time{}
	}
	a.idle.kept, a.idle.keptBy = time.Time{}, false
}

// pollNeighbours replaces neighbours that are not heard any more, or never were.
func (n *Node) pollNeighbours(now time.Time) {
	for _, a := range n.active {
		if now.Sub(later(a.idle.kept, a.heard)) >= lively {
			n.forsake(a)
		}
	}
	if alone := n.alone(now); alone != n.lone {
		n.lone, n.seek = alone, time.Time{}
	}
	n.chooseNeighbours(now)
}

// chooseNeighbours draws as many as are missing of those that are online, and
// without the hub of those that it knows an address of. It looks when somebody came
// or was lost, and now and then.
func (n *Node) chooseNeighbours(now time.Time) {
	if now.Before(n.seek) || n.lapsed {
		return
	}
	n.seek = now.Add(shunFor)
	missing := n.missingNeighbours(now)
	if missing <= 0 {
		return
	}
	var some []config.NodeKey
	for node, m := range n.members {
		if m.eligible(now) && (n.present[node] != 0 || n.lone && m.ways != nil && m.ways.any()) {
			some = append(some, node)
		}
	}
	rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	if n.lone && len(some) > 0 && !n.sought {
		n.sought = true
		n.progress("looking for members without the hub, where they were last")
	}
	for _, node := range some[:min(missing, len(some))] {
		if a := n.activate(n.members[node]); a != nil {
			n.prove(a)
			a.idle.kept = now
			a.tellKept(0)
		}
	}
}

// missingNeighbours is how many are to be drawn.
func (n *Node) missingNeighbours(now time.Time) int {
	missing, hoped := n.neighbours, 0
	for _, a := range n.active {
		switch {
		case a.idle.kept.IsZero():
		case !n.lone || !a.heard.IsZero() || now.Sub(a.idle.kept) < hopeFor:
			missing--
		default:
			hoped++
		}
	}
	if n.lone {
		n.seek = now.Add(hopeFor)
	}
	return min(missing, maxHoped-hoped)
}

// eligible says whether a member can become a neighbour.
func (m *member) eligible(now time.Time) bool {
	if m.active != nil && (!m.active.idle.kept.IsZero() || !m.active.idle.leaving.IsZero()) {
		return false
	}
	return !now.Before(m.shunned)
}
