package tunnel

import (
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
)

// Where the members were last is on disk, so that a machine that starts without
// the hub finds them. What is known of a member at all is written soon, the rest
// seldom: it costs little to lose the newest.
const (
	saveKnownSoon  = 200 * time.Millisecond // after a change
	saveKnownEvery = 30 * time.Second
)

// knownPeers is what disk has, and when to write it.
type knownPeers struct {
	loaded  map[config.NodeKey]config.KnownPeer
	changed time.Time // first, since the last time it was written; zero: nothing did
	first   bool      // an address of a member that had none is among it
	saved   time.Time
}

// loadKnown reads where members were. Without it the hub has to say.
func (n *Node) loadKnown() {
	n.known.loaded = make(map[config.NodeKey]config.KnownPeer)
	peers, err := n.cfg.Dir.LoadPeers()
	if err != nil {
		n.log.Warn("where peers were last cannot be read, the hub has to say it", "err", err)
	}
	for _, p := range peers {
		n.known.loaded[p.Node] = p
	}
}

// whereabouts is where a member may be.
func (m *member) whereabouts() *ways {
	if m.ways == nil {
		m.ways = newWays(nil)
	}
	return m.ways
}

// recall gives a new member what is known of it.
func (n *Node) recall(m *member) {
	if k, ok := n.known.loaded[m.record.Node]; ok {
		m.ways, m.epoch = newWays(k.Addresses), signaling.Epoch(k.Epoch)
	}
}

// maxResumed is how many tunnels of the run before a start makes anew by itself.
const maxResumed = 64

// resume makes the tunnels anew that there were when this machine stopped. Those at the
// other ends may not know that it has, or wait for it: who only receives would be found
// again when the hub has told them, at the earliest.
func (n *Node) resume() {
	left := maxResumed
	for node, k := range n.known.loaded {
		if m := n.members[node]; m != nil && k.Active && left > 0 {
			n.want(m)
			left--
		}
	}
}

// noteEpoch remembers the run that a member has signed.
func (n *Node) noteEpoch(m *member, epoch signaling.Epoch) {
	if epoch > m.epoch {
		m.epoch = epoch
		n.noteKnown(time.Now())
	}
}

func (n *Node) noteKnown(now time.Time) {
	if n.known.changed.IsZero() {
		n.known.changed = now
	}
}

// noteWorked remembers the address of a path that has carried authentic packets.
func (n *Node) noteWorked(now time.Time, a *active) {
	p, ok := a.endpoint.Path()
	if !ok || !a.heard.After(unixNano(a.pathAt.Load())) {
		return
	}
	relayed := a.session.Snapshot().Remote.Type == peer.Relayed
	if a.whereabouts().worked(config.KnownAddress{Address: p.Remote, Relayed: relayed, Seen: a.heard.UTC().Truncate(time.Second)}) {
		n.known.first = n.known.first || len(a.ways.known()) == 1
		n.noteKnown(now)
	}
}

// pollKnown writes what has changed, when it is time.
func (n *Node) pollKnown(now time.Time) {
	if c := n.known.changed; !c.IsZero() && now.Sub(c) >= saveKnownSoon && (n.known.first || now.Sub(n.known.saved) >= saveKnownEvery) {
		n.saveKnown(now)
	}
}

// saveKnown writes where the members were last.
func (n *Node) saveKnown(now time.Time) {
	var list []config.KnownPeer
	loaded := make(map[config.NodeKey]config.KnownPeer)
	for node, m := range n.members {
		if m.ways == nil {
			continue
		}
		active := m.active != nil && m.active.idle.proved
		if k := (config.KnownPeer{Node: node, Epoch: uint64(m.epoch), Active: active, Addresses: m.ways.known()}); len(k.Addresses) > 0 {
			list = append(list, k)
			loaded[node] = k
		}
	}
	n.known = knownPeers{loaded: loaded, saved: now}
	if err := n.cfg.Dir.SavePeers(list); err != nil {
		n.log.Error("where peers are not saved", "err", err)
	}
}
