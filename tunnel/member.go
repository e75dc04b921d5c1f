package tunnel

import (
	"net/netip"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
)

// member is another node. Most are idle at most times: they cost their record,
// this, and a door of the gate.
type member struct {
	record *signaling.SignedRecord
	online bool      // as the hub says
	gone   time.Time // when it said that it is not; zero: it has not been online
	door   *door
	epoch  signaling.Epoch // the newest run of it that is known; 0: none is
	beacon signaling.Beacon

	active *active // nil: idle
	before
}

// before is what is left of a member's active times in this run.
type before struct {
	pair    *signaling.Pair // knows what was said, so that nothing can be repeated
	ended   chan struct{}   // closed when the last session's goroutine has ended
	traffic traffic         // of the peers that the device had
	said    string          // the path that progress last told
	shunned time.Time       // not to be a neighbour before
	events  *peer.Events    // nil: there was nothing with it

	wasOnline bool  // as the events have it
	ways      *ways // where it may be; nil: nobody knows
	limits
}

// addMember takes a record.
func (n *Node) addMember(rec *signaling.SignedRecord) {
	if rec.Node == n.self.Node.Public() || n.tunnel == nil {
		return
	}
	if n.lapsed || !rec.Live(n.now()) {
		n.removeMember(rec.Node)
		return
	}
	if n.updateMember(rec) {
		return
	}
	m := &member{record: rec, door: &door{node: rec.Node}}
	n.members[rec.Node], n.newDoors = m, true
	n.recall(m)
	n.setOnline(m, n.present[rec.Node])
	n.seek = time.Time{}
}

// setOnline notes whether the member is at the hub: under an epoch, or 0.
func (m *member) setOnline(epoch signaling.Epoch) {
	if m.online && epoch == 0 {
		m.gone = time.Now()
	}
	m.online = epoch != 0
}

// removeMember ends the tunnel to a node, and forgets its keys.
func (n *Node) removeMember(node config.NodeKey) {
	if m := n.members[node]; m != nil {
		n.endMember(m)
		n.keys.Put(node, config.PeerKeys{})
	}
}

// endMember ends a member, and the tunnel to it.
func (n *Node) endMember(m *member) {
	delete(n.members, m.record.Node)
	n.newDoors = true
	if m.active != nil {
		n.deactivate(m.active)
	}
	n.tunnel.gate.remove(m.door)
}

// setDoors tells the gate of the members, where they have changed.
func (n *Node) setDoors() {
	if !n.newDoors {
		return
	}
	n.newDoors = false
	n.sealed.setMembers(n.records())
	doors := newDoors(len(n.members))
	for _, m := range n.members {
		for _, a := range n.addresses(m) {
			doors.add(a, m.door)
		}
	}
	n.tunnel.gate.setDoors(doors)
}

// addresses are the member's inside the tunnel: those of the network. A record by
// a hostile admin may name any machine's.
func (n *Node) addresses(m *member) (addrs []netip.Addr) {
	for _, a := range m.record.Addresses(n.self.Network) {
		if a.Is6() || n.node.Prefix.Contains(a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// prompt is how long the side that does not prompt handshakes waits for the
// one that does.
const prompt = time.Second

// poll looks at WireGuard's traffic: they alone say what is alive.
func (n *Node) poll(now time.Time) {
	n.pollAwake(now)
	n.pollActive(now)
	n.tellPresence(now)
	n.pollKnown(now)
	n.tunnel.gate.expire(now)
	if now.After(n.renew) && !n.renew.IsZero() && n.hub.Send(&signaling.Credentials{}) {
		n.renew = now.Add(time.Minute)
	}
	n.expire()
	n.followHub(now)
	n.gossip(now)
	n.tellGathered()
	n.showRecord(now)
	n.pollGuests(now)
	if n.ready.told && now.Sub(n.sync.saved) > saveEvery {
		n.saveMembers()
	}
	if n.ready.check(now, n.pending(now)) {
		n.cfg.Ready()
	}
}

func (n *Node) pollActive(now time.Time) {
	n.count(now)
	n.pollReachable(now)
	for _, a := range n.active {
		n.noteWorked(now, a)
		n.pollRefused(now, a)
		n.pollIdle(now, a)
	}
	n.pollNeighbours(now)
}

// count takes WireGuard's counters.
func (n *Node) count(now time.Time) {
	if len(n.active) == 0 {
		return
	}
	all := n.tunnel.traffic()
	for _, a := range n.active {
		n.pollMember(now, a, all[a.record.WireGuard])
	}
}

func (n *Node) pollMember(now time.Time, m *active, c traffic) {
	completed := c.handshake.After(m.counted.handshake)
	m.keys.settle(now, completed)
	if c.rx != m.counted.rx || completed {
		m.heard = now
		m.heardNS.Store(now.UnixNano())
	}
	if completed {
		m.events.Add(now, "handshake")
	}
	if c.tx != m.counted.tx {
		m.spoke = now
	}
	m.counted = c
	pathAt := unixNano(m.pathAt.Load())
	if pathAt.IsZero() {
		return
	}
	// WireGuard's own keepalives come from either side: what one receives puts
	// off what it would send. So this side says itself that it is there.
	if !m.heard.IsZero() && now.Sub(m.spoke) >= keepalive-tick {
		m.spoke = now
		m.wg.Load().SendKeepalive()
	}
	if m.heard.IsZero() && now.Sub(pathAt) > prompt && now.Sub(m.prompted) > prompt {
		m.prompted = now
		m.wg.Load().SendKeepalive()
	}
	n.tellPath(m)
}

// tellGathered says under which addresses peers may reach this machine, when
// all that the hub's servers can give is there, and when it changes.
func (n *Node) tellGathered() {
	if n.renew.IsZero() {
		return // no servers yet
	}
	candidates, all := n.tunnel.underlay.Gathered()
	if !all {
		return
	}
	names := map[peer.CandidateType]string{peer.Host: "local ", peer.ServerReflexive: "public ", peer.Relayed: "relay "}
	var list []string
	for _, c := range candidates {
		if !c.Told() {
			continue
		}
		list = append(list, names[c.Type]+c.Addr.String())
	}
	text := strings.Join(list, ", ")
	if text == "" {
		text = "none"
	}
	if text != n.gathered {
		n.gathered = text
		n.progress("reachable at: %s", text)
	}
}

// tellPath says when a peer is connected, and when its path changes.
func (n *Node) tellPath(m *active) {
	if m.heard.IsZero() {
		return
	}
	var text string
	switch s := m.session.Snapshot(); s.Path {
	case peer.PathDirect:
		text = "directly, at " + s.Remote.Addr.String()
	case peer.PathRelayed:
		text = "over a relay"
	default:
		return
	}
	if text == m.said {
		return
	}
	verb := "connected"
	if m.said != "" {
		verb = "now connected"
	}
	m.said = text
	n.progress("%s is %s %s", m.record.Name, verb, text)
}

// pending counts the members that are online and wanted, and not connected yet.
// Those of whom nobody can say whether they are there have a second.
func (n *Node) pending(now time.Time) int {
	count := 0
	for _, m := range n.active {
		if m.heard.IsZero() && (m.online || !n.link.up && m.told && now.Sub(m.idle.since) < hopeAtStart) {
			count++
		}
	}
	return count
}

// nextPoll is soon while a path waits for its first authenticated packet.
func (n *Node) nextPoll() time.Duration {
	if !n.ready.told {
		return fastTick
	}
	now := time.Now()
	for _, m := range n.active {
		if !m.idle.leaving.IsZero() {
			return fastTick
		}
		if at := unixNano(m.pathAt.Load()); !at.IsZero() && m.heard.IsZero() && now.Sub(at) < 5*time.Second {
			return fastTick
		}
	}
	return tick
}
