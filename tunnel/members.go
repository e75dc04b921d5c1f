package tunnel

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// memberSync is how far this node's list of members agrees with the hub's.
type memberSync struct {
	sequence uint64                // the hub's, newest taken
	whole    map[[32]byte]struct{} // while all is sent again: what the hub has
	compared bool                  // all was sent again on this connection: once is enough
	unsaved  bool
	saved    time.Time
}

// loadMembers reads what is remembered of the members from earlier runs.
func (n *Node) loadMembers() error {
	n.roster = signaling.NewRoster(n.node.Network)
	known, err := n.cfg.Dir.LoadMembers()
	if err != nil {
		return err
	}
	n.sync.sequence = known.Sequence
	for _, raw := range append(known.Records, n.node.Record) {
		if len(raw) == 0 {
			continue
		}
		if _, err := n.roster.Merge(raw); err != nil && !errors.Is(err, signaling.ErrOutdated) {
			n.log.Warn("stored member record dropped", "err", err)
		}
	}
	return nil
}

// saveEvery is how seldom the list is written: it can be fetched again, and a
// slow disk would hold up the loop just when peers connect.
const saveEvery = 10 * time.Second

// saveMembers writes the list if it has changed since the last time.
func (n *Node) saveMembers() {
	if !n.sync.unsaved {
		return
	}
	n.sync.saved = time.Now()
	err := n.cfg.Dir.SaveMembers(config.Members{Records: n.roster.All(), Sequence: n.sync.sequence})
	if err != nil {
		n.log.Error("members not saved", "err", err)
		return
	}
	n.sync.unsaved = false
}

// takeMembers adds the records that the hub sends. What no admin signed is
// dropped: the hub adds nobody.
func (n *Node) takeMembers(m *signaling.Members) {
	changed := false
	for _, raw := range m.Records {
		changed = n.addRecord(raw) || changed
		if n.sync.whole != nil && n.roster.Has(raw) { // so it cannot outgrow the roster
			n.sync.whole[sha256.Sum256(raw)] = struct{}{}
		}
	}
	if changed {
		n.sendTickets() // an admitted machine may be a member now
	}
	if m.Sequence > n.sync.sequence || n.sync.whole != nil {
		n.sync.sequence, n.sync.unsaved = m.Sequence, true
	}
	if len(m.Digest) > 0 && !m.More {
		n.compareMembers(m.Digest)
	}
}

// compareMembers acts on the digest that ends what the hub sends. Where the
// lists differ the hub sends all once; where they differ still, it lacks what
// we have (its disk was lost, or went back in time), and gets it.
func (n *Node) compareMembers(digest []byte) {
	whole := n.sync.whole
	n.sync.whole = nil
	if bytes.Equal(digest, n.roster.Digest()) {
		return
	}
	if whole == nil {
		if n.sync.compared {
			return
		}
		n.sync.whole, n.sync.compared = make(map[[32]byte]struct{}), true
		n.hub.Send(&signaling.Members{Since: new(uint64)})
		return
	}
	var page [][]byte
	for _, raw := range n.roster.All() {
		if _, has := whole[sha256.Sum256(raw)]; has {
			continue
		}
		if page = append(page, raw); len(page) == publishPage {
			n.hub.Send(&signaling.Members{Records: page})
			page = nil
		}
	}
	if len(page) > 0 {
		n.hub.Send(&signaling.Members{Records: page})
	}
}

// publishPage records fit one frame.
const publishPage = 16

// addRecord takes one record; the session and the tunnel of its node follow.
// It says whether the record was new.
func (n *Node) addRecord(raw []byte) bool {
	change, err := n.roster.Merge(raw)
	if errors.Is(err, signaling.ErrOutdated) {
		return false
	}
	if err != nil {
		n.log.Debug("member record dropped", "err", err)
		return false
	}
	if change.Clash != nil {
		n.log.Warn("member record does not stand", "err", change.Clash)
	}
	n.sync.unsaved = true
	for _, rec := range change.Removed { // or its keys are others now
		n.removeMember(rec.Node)
	}
	if n.tunnel != nil {
		for _, rec := range change.Added {
			n.addMember(rec)
		}
	}
	return true
}

// openKeeper lets the machine that holds the network's key admit others.
func (n *Node) openKeeper() error {
	if n.node.Creator == nil {
		return nil
	}
	invites, err := n.cfg.Dir.LoadInvites()
	if err != nil {
		return err
	}
	n.keeper = signaling.NewKeeper(signaling.KeeperConfig{
		Self: n.self, WireGuard: n.node.WireGuard, Network: *n.node.Creator, NetworkName: n.node.NetworkName,
		Prefix: n.node.Prefix, Discovery: n.node.Discovery, Hub: n.node.Hub, Roster: n.roster,
		Save: n.cfg.Dir.SaveInvites,
	}, invites)
	return nil
}

// keep serves a joiner that the hub lets knock.
func (n *Node) keep(m *signaling.Join) {
	if n.keeper == nil {
		return
	}
	if signaling.IsJoinAck(m.Sealed) {
		if raw, ok := n.keeper.Ack(m.From, m.Sealed); ok {
			n.addRecord(raw)
			n.sendTickets()
			n.hub.Send(&signaling.Members{Records: [][]byte{raw}})
		}
		return
	}
	answer, req, err := n.keeper.Answer(time.Now(), m.Sealed)
	if err != nil {
		n.log.Debug("join request refused", "node", m.From, "err", err)
		return
	}
	n.log.Info("join request answered", "node", req.Node, "name", req.Name)
	n.hub.Send(&signaling.Join{To: m.From, Sealed: answer})
}

// sendTickets tells the hub which invites are open.
func (n *Node) sendTickets() {
	if n.keeper != nil {
		n.hub.Send(&signaling.Tickets{Tickets: n.keeper.Tickets(time.Now())})
	}
}

// errNotKeeper is what a plain member says when it is asked for an invite.
var errNotKeeper = config.WithHint(fmt.Errorf("this machine may not admit others"), "make invites on the machine that made the network")
