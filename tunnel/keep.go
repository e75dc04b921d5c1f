package tunnel

import (
	"bytes"
	"errors"
	"slices"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// admin is what this machine signs with: the network's key where it has it,
// its own where it is a delegate; the zero Admin where it is a plain member.
func (n *Node) admin() signaling.Admin {
	switch {
	case n.node.Creator != nil:
		return signaling.NetworkAdmin(*n.node.Creator)
	case n.roster.IsAdmin(n.self.Node.Public()):
		return signaling.DelegateAdmin(n.node.Network, n.self.Node)
	}
	return signaling.Admin{}
}

// openKeeper lets an admin's machine admit others. It does nothing on another,
// and where the keeper is open.
func (n *Node) openKeeper() error {
	admin := n.admin()
	if admin.IsZero() || n.keeper != nil {
		return nil
	}
	invites, err := n.cfg.Dir.LoadInvites()
	if err != nil {
		return err
	}
	n.keeper = signaling.NewKeeper(signaling.KeeperConfig{
		Self: n.self, WireGuard: n.node.WireGuard, Network: n.node.Network, Admin: admin,
		NetworkName: n.node.NetworkName, Prefix: n.node.Prefix, Discovery: n.node.Discovery,
		Hub: func() config.Hub { return n.node.Hub }, Roster: n.roster, Save: n.cfg.Dir.SaveInvites,
	}, invites)
	return nil
}

// keep serves a joiner that the hub lets knock.
func (n *Node) keep(m *signaling.Join) {
	if sealed, ok := signaling.SplitJoinSignal(m.Sealed); ok {
		n.joinSignaled(m.From, sealed)
		return
	}
	if n.keeper == nil {
		n.refused("join request", errNotAdmin)
		return
	}
	if signaling.IsJoinAck(m.Sealed) {
		if statements, ok := n.keeper.Ack(m.From, m.Sealed); ok {
			n.learn(statements, false)
		}
		return
	}
	if !n.joins.Allow() {
		n.refused("join request", errors.New("more than a hub that keeps its word lets through"))
		return
	}
	answer, req, err := n.keeper.Answer(n.now(), m.Sealed)
	if err != nil {
		n.refused("join request", err)
		return
	}
	n.log.Info("join request answered", "node", req.Node, "name", req.Name)
	n.hub.Send(&signaling.Join{To: m.From, Sealed: answer})
	n.welcome(req.Node)
}

// mend makes up for what this machine owes those that it admitted: that who was
// replaced is gone, and, to those that clash with another admin's, a name and an
// address of their own.
func (n *Node) mend() {
	if n.keeper == nil {
		return
	}
	if owed := n.keeper.Owed(); len(owed) > 0 {
		n.learn(owed, false) // which mends, too
		return
	}
	statements, err := n.keeper.Mend()
	if err != nil {
		n.log.Error("clashing members not mended", "err", err)
	}
	if len(statements) > 0 {
		n.learn(statements, false)
	}
}

// sendTickets tells the hub which invites are open, if that has changed since
// it was told on this connection.
func (n *Node) sendTickets() {
	if n.keeper == nil {
		return
	}
	tickets := n.keeper.Tickets(n.now())
	same := slices.EqualFunc(tickets, n.tickets, func(a, b signaling.Ticket) bool {
		return a.State == b.State && bytes.Equal(a.Hash, b.Hash)
	})
	if !same && n.hub.Send(&signaling.Tickets{Tickets: tickets}) {
		n.tickets = tickets
	}
}

// errNotAdmin is what a plain member says when it is asked to admit or to throw
// out.
var errNotAdmin = config.WithHint(errors.New("this machine is no admin of the network"),
	"do it on one that is (`p2ptun nodes` shows them); `p2ptun network delegate NODE` there makes this one an admin, too")
