package tunnel

import (
	"errors"
	"net/netip"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// A machine that is admitted gets its record, acknowledges it, and is published; the
// hub makes it a member then, and tells who is there. Its keeper does not wait for
// all that: it signed the record, and makes its offer along with the answer. Until
// the hub knows better, what the two seal travels in join messages.

// guestFor is how long a machine may take to acknowledge its admission.
const guestFor = 10 * time.Second

// guest is a machine that this one has admitted and nobody has heard of yet.
type guest struct {
	record *signaling.SignedRecord
	since  time.Time
}

// welcome notes an admission.
func (n *Node) welcome(node config.NodeKey) {
	if rec := n.keeper.Record(node); rec != nil && n.members[node] == nil && !n.roster.IsRevoked(node) {
		n.guests[node] = guest{rec, time.Now()}
	}
}

// joinSignaled takes a sealed message that came as a join message.
func (n *Node) joinSignaled(from config.NodeKey, sealed []byte) {
	epoch, ok := signaling.OpenEpochNotice(n.self.Network, from, sealed)
	if !ok {
		n.receive(&signaling.Signal{From: from, Sealed: sealed})
		return
	}
	g, ok := n.guests[from]
	if !ok || n.tunnel == nil {
		n.refused("join message", errors.New("its sender was not admitted now"))
		return
	}
	m := n.members[from]
	if m == nil {
		m = &member{record: g.record, door: &door{node: from}}
		n.members[from], n.newDoors = m, true
		n.byJoin.Store(from, nil)
	}
	n.present[from] = epoch
	m.setOnline(epoch)
	n.want(m)
}

// pollGuests forgets those who did not acknowledge their admission.
func (n *Node) pollGuests(now time.Time) {
	for node, g := range n.guests {
		_, known := n.roster.Get(node)
		if !known && now.Sub(g.since) < guestFor {
			continue
		}
		delete(n.guests, node)
		if m := n.members[node]; m != nil && !known {
			delete(n.present, node)
			n.endMember(m)
		}
	}
}

// observe takes the address that the hub has seen this machine at: peers may find
// it there under the same port, before a STUN server has said so.
func (n *Node) observe(seen string) {
	if addr, err := netip.ParseAddrPort(seen); err == nil {
		n.seen = addr.Addr().Unmap()
	}
	if n.tunnel != nil {
		n.tunnel.underlay.SetObserved(n.seen)
	}
}
