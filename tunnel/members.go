package tunnel

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// memberSync is how far what this node knows of the network agrees with what
// the hub does.
type memberSync struct {
	sequence uint64                // the hub's, newest taken
	whole    map[[32]byte]struct{} // while all is sent again: what the hub has
	compared bool                  // all was sent again on this connection: once is enough
	unsaved  bool
	saved    time.Time

	gossip time.Time     // when to compare with a member
	wait   time.Duration // after the last time
}

// loadMembers reads what is remembered of the network from earlier runs.
func (n *Node) loadMembers() error {
	known, change, err := loadRoster(n.cfg.Dir, n.node)
	if err != nil {
		return err
	}
	n.roster, n.sync.sequence = known.roster, known.sequence
	if change.Err != nil {
		n.log.Warn("stored statements dropped", "err", change.Err)
	}
	return nil
}

// saveEvery is how seldom the list is written: it can be fetched again, and a
// slow disk would hold up the loop just when peers connect. A revocation is
// written at once.
const saveEvery = 10 * time.Second

// saveMembers writes the list if it has changed since the last time.
func (n *Node) saveMembers() {
	if !n.sync.unsaved {
		return
	}
	n.sync.saved = time.Now()
	known := &knownNetwork{n.roster, n.sync.sequence}
	if err := n.cfg.Dir.SaveMembers(known.members()); err != nil {
		n.log.Error("members not saved", "err", err)
		return
	}
	n.sync.unsaved = false
}

// takeMembers adds the statements that the hub sends. What no admin signed is
// dropped: the hub adds nobody.
func (n *Node) takeMembers(m *signaling.Members) {
	unknown := 0
	for _, raw := range m.Statements {
		if !n.roster.Has(sha256.Sum256(raw)) {
			unknown++
		}
	}
	if !n.hearing.AllowN(time.Now(), unknown) {
		n.refused("statements of the hub", errors.New("more than any network has"))
		return
	}
	n.learn(m.Statements, true)
	if n.sync.whole != nil {
		for _, raw := range m.Statements {
			if hash := sha256.Sum256(raw); n.roster.Has(hash) { // so it cannot outgrow the roster
				n.sync.whole[hash] = struct{}{}
			}
		}
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
	var missing [][]byte
	for _, s := range n.roster.Statements() {
		if _, has := whole[s.Hash()]; !has {
			missing = append(missing, s.Bytes())
		}
	}
	n.tellHub(missing)
}

// publishPage statements fit one frame.
const publishPage = 16

// tellHub publishes statements.
func (n *Node) tellHub(statements [][]byte) {
	for page := range slices.Chunk(statements, publishPage) {
		n.hub.Send(&signaling.Members{Statements: page})
	}
}

// learn takes statements; sessions and tunnels follow. It says which were new.
func (n *Node) learn(raw [][]byte, fromHub bool) []*signaling.Statement {
	change := n.roster.Merge(raw...)
	if change.Err != nil {
		n.refused("statement", change.Err)
	}
	if len(change.Taken) == 0 {
		return nil
	}
	n.sync.unsaved = true
	n.sync.gossip, n.sync.wait = time.Now().Add(gossipWait), gossipWait
	if len(change.Revoked) > 0 {
		n.saveMembers() // before anybody can see that it counts: it must outlive a crash
	}
	for _, rec := range change.Removed {
		if next, ok := n.roster.Get(rec.Node); !ok || !sameKeys(rec, next) {
			n.removeMember(rec.Node)
			n.tellRemoved(rec)
		}
	}
	for _, rec := range change.Added {
		n.addMember(rec)
	}
	n.learnOwn(&change)
	n.mend()
	n.spread(change.Taken, fromHub)
	n.sendTickets() // an admitted machine may be a member now
	return change.Taken
}

// tellRemoved says who was thrown out.
func (n *Node) tellRemoved(rec *signaling.SignedRecord) {
	if n.roster.IsRevoked(rec.Node) && rec.Node != n.self.Node.Public() {
		n.progress("%s was removed from the network", rec.Name)
	}
}

// learnOwn acts on what the statements say of this very machine.
func (n *Node) learnOwn(c *signaling.Change) {
	self := n.self.Node.Public()
	if n.roster.IsRevoked(self) {
		n.end(errRevoked)
		return
	}
	if err := n.openKeeper(); err != nil { // it may be an admin now
		n.log.Error("invites not read: nobody can be admitted", "err", err)
	}
	changed := false
	if proof := n.roster.Proof(self); len(proof) > 0 && !slices.EqualFunc(proof, n.node.Proof, bytes.Equal) {
		rec, _ := n.roster.Record(self)
		if rec.WireGuard != n.self.WireGuard || rec.Sealing != n.self.Sealing.Public() {
			n.log.Error("an admin has signed other keys for this machine", "admin", rec.Statement().Signer)
			return
		}
		n.node.Proof, n.node.Name, changed = proof, rec.Name, true
	}
	if c.Hubs {
		n.tryAt = time.Now().Add(hubHandover)
	}
	if !changed {
		return
	}
	if err := n.cfg.Dir.SaveNode(n.node); err != nil {
		n.log.Error("node not saved", "err", err)
	}
	n.readdress()
}

// errRevoked ends a node that was thrown out.
var errRevoked = config.WithHint(errors.New("an admin has removed this machine from the network"),
	"`p2ptun leave` forgets the network; then a new invite may let the machine in again")

// own is this machine's record.
func (n *Node) own() (*signaling.SignedRecord, error) {
	self := n.self.Node.Public()
	if n.roster.IsRevoked(self) {
		return nil, errRevoked
	}
	rec, ok := n.roster.Record(self)
	if !ok {
		return nil, errors.New("no admin of the network vouches for this machine any more")
	}
	if !n.node.Prefix.Contains(rec.IPv4) { // it would lead the host's traffic to others into the tunnel
		return nil, config.WithHint(fmt.Errorf("an admin has given this machine the address %v outside of the network's %v", rec.IPv4, n.node.Prefix),
			"`p2ptun revoke` that admin on the machine that made the network")
	}
	return rec, nil
}

// errReaddress ends the tunnel to begin it again with other addresses.
var errReaddress = errors.New("this machine has other addresses now")

// readdress follows when an admin has given this machine another address.
func (n *Node) readdress() {
	if n.tunnel == nil {
		return
	}
	if rec, err := n.own(); err == nil && rec.IPv4 != n.tunnel.ipv4 {
		n.progress("an admin has given this machine the address %v", rec.IPv4)
		n.end(errReaddress)
	}
}

func sameKeys(a, b *signaling.SignedRecord) bool {
	return a.WireGuard == b.WireGuard && a.Sealing == b.Sealing
}

// updateMember takes a newer record of a member whose keys are the same: its
// tunnel stays as it is.
func (n *Node) updateMember(rec *signaling.SignedRecord) bool {
	m := n.members[rec.Node]
	if m == nil {
		return false
	}
	if m.record.Name != rec.Name {
		n.progress("%s is called %s now", m.record.Name, rec.Name)
	}
	moved := m.record.IPv4 != rec.IPv4
	m.record = rec
	if !moved {
		return true
	}
	n.newDoors = true
	if m.active != nil {
		uapi := fmt.Sprintf("public_key=%s\nupdate_only=true\n", hex.EncodeToString(rec.WireGuard[:]))
		if err := n.tunnel.wg.IpcSet(uapi + n.allowedIPs(m)); err != nil {
			n.log.Error("peer not configured", "peer", rec.Name, "err", err)
		}
		m.active.mtu.move(rec.Addresses(n.self.Network))
	}
	return true
}

// refused counts what is dropped because it is not what it says. The first of a
// kind is told, as a sign that somebody tries.
func (n *Node) refused(what string, err error) {
	if n.refuse[what]++; n.refuse[what] == 1 {
		n.log.Warn(what+" refused; more of these are only counted", "err", err)
		return
	}
	n.log.Debug(what+" refused", "err", err)
}

// refusedSoFar counts what was refused, by kind, here and in the sessions.
func (n *Node) refusedSoFar() map[string]uint64 {
	drops := n.tunnel.underlay.Drops()
	all := map[string]uint64{"sealed message": drops.Messages, "stale sealed message": drops.Stale}
	for what, count := range n.refuse {
		all[what] = uint64(count)
	}
	maps.DeleteFunc(all, func(_ string, count uint64) bool { return count == 0 })
	return all
}
