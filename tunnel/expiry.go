package tunnel

import (
	"time"

	"github.com/p2ptun/p2ptun/signaling"
)

// Memberships may have an end, which an admin can move at any time. Nobody is
// told that one has come: every node sees it by its own clock, ends the tunnel,
// and makes it again when a record with a later end is there. A machine whose
// own has ended keeps to it as well: it goes on asking the hub, which lets it
// in, and tells it, when the hub knows of a later end.

// hasLapsed says whether this machine's membership has ended, or is void because
// the admin that vouched for it is none any more; n.lapsed, whether expire has
// seen that.
func (n *Node) hasLapsed(now time.Time) bool {
	rec, ok := n.roster.Record(n.self.Node.Public())
	return !ok || !rec.Live(now)
}

// expire ends the tunnels of memberships that have ended.
func (n *Node) expire() {
	now := n.now()
	lapsed := n.hasLapsed(now)
	for node, m := range n.members {
		switch {
		case lapsed:
			n.removeMember(node)
		case !m.record.Live(now):
			n.progress("the membership of %s has ended", m.record.Name)
			n.removeMember(node)
		}
	}
	if lapsed == n.lapsed {
		return
	}
	n.lapsed = lapsed
	rec, _ := n.roster.Record(n.self.Node.Public())
	switch {
	case lapsed && rec == nil:
		n.progress("no admin of the network vouches for this machine any more: the one that admitted it was removed; `p2ptun leave`, then a new invite, lets it in again")
		return
	case lapsed:
		n.progress("the membership of this machine ended at %s; an admin can extend it: `p2ptun network extend %s`", timeText(rec), rec.Name)
		return
	}
	n.progress("this machine is a member again")
	for _, rec := range n.roster.Live(now) {
		n.addMember(rec)
	}
}

// timeText is when a membership ends.
func timeText(rec *signaling.SignedRecord) string {
	return rec.Expires.UTC().Format("2006-01-02 15:04:05 UTC")
}
