package hub

import (
	"errors"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// handle does what a frame asks for. An error ends the connection.
func (c *conn) handle(kind int, frame []byte) error {
	if kind != websocket.TextMessage {
		return refuse(signaling.CodeProtocol, "want text frames")
	}
	m, err := signaling.Decode(frame)
	if err != nil {
		return refuse(signaling.CodeProtocol, "%v", err)
	}
	if j, ok := m.(*signaling.Join); ok {
		return c.join(j)
	}
	if m == nil {
		return nil // a newer node's
	}
	if !c.member.Load() {
		return refuse(signaling.CodeUnauthorized, "a joiner may only ask its keeper")
	}
	switch m := m.(type) {
	case *signaling.Signal:
		return c.signal(m)
	case *signaling.Members:
		return c.members(m)
	case *signaling.Tickets:
		if !c.tickets.Allow() { // each may be a write to the disk
			return refuse(signaling.CodeLimit, "invites change too often")
		}
		return c.keepsInvites(m.Tickets)
	case *signaling.Credentials:
		c.queue.push(item{message: c.hub.credentials.issue(identity{c.network(), c.node()})})
		return nil
	}
	return refuse(signaling.CodeProtocol, "not a frame that a node sends")
}

// keepsInvites takes an admin's word for its invites.
func (c *conn) keepsInvites(tickets []signaling.Ticket) error {
	var admin bool
	if err := c.roster.look(func(r *signaling.Roster) { admin = r.IsAdmin(c.node()) }); err != nil {
		return err
	}
	if !admin {
		return refuse(signaling.CodeUnauthorized, "only admins keep invites")
	}
	err := c.hub.putTickets(c.network(), c.node(), tickets)
	if refusal := new(signaling.Error); err != nil && !errors.As(err, &refusal) {
		// The keeper tells them again when it comes again; ending its connection
		// mends no disk.
		c.hub.drops.unstored.Add(1)
		c.log.Error("tickets not stored", "err", err)
		return nil
	}
	return err
}

// signal passes a sealed message to a member of the same network.
func (c *conn) signal(m *signaling.Signal) error {
	if len(m.Sealed) > signaling.MaxSealed {
		return refuse(signaling.CodeProtocol, "sealed message: too long")
	}
	c.pass(m.To, Event{Message: &signaling.Signal{From: c.node(), To: m.To, Sealed: m.Sealed}})
	return nil
}

// join passes a sealed message between a joiner and its keeper. The receiving
// seat checks the other half, see deliver.
func (c *conn) join(m *signaling.Join) error {
	joiner := !c.member.Load()
	switch {
	case len(m.Sealed) > signaling.MaxSealed:
		return refuse(signaling.CodeProtocol, "sealed message: too long")
	case joiner && m.To != c.keeper:
		return refuse(signaling.CodeUnauthorized, "a joiner may only ask its keeper")
	}
	// Who has just become a member may not know it yet.
	c.pass(m.To, Event{Joiner: joiner || m.To == c.keeper, Message: &signaling.Join{From: c.node(), To: m.To, Sealed: m.Sealed}})
	return nil
}

// pass tells the sender when the other is not there; what waits for nobody is
// not kept.
func (c *conn) pass(to config.NodeKey, e Event) {
	if !c.hub.bus.Publish(c.network(), to, e) {
		c.queue.push(item{message: &signaling.Error{Code: signaling.CodeOffline, Message: "not connected", To: &to}})
	}
}

// deliver is this connection's seat on the Bus.
func (c *conn) deliver(e Event) bool {
	member := c.member.Load()
	if e.Admitted {
		if !member {
			c.queue.push(item{upgrade: true})
		}
		return !member
	}
	switch m := e.Message.(type) {
	case *signaling.Signal:
		if !member || e.Joiner {
			return false
		}
		c.hub.drops.signals.Add(uint64(c.queue.signal(m, len(m.Sealed))))
	case *signaling.Join:
		// To a member only from a joiner, to a joiner only from its keeper, who
		// may not know yet that it is a member.
		if m.From != c.keeper && (!member || !e.Joiner) || m.From == c.keeper && e.Joiner {
			return false
		}
		c.hub.drops.signals.Add(uint64(c.queue.signal(m, len(m.Sealed))))
	case *signaling.Presence:
		if !member {
			if m = onlyOf(m, c.keeper); m == nil {
				return true
			}
		}
		c.queue.push(item{message: m})
	case *signaling.Error:
		if m.Code == signaling.CodeCopied {
			c.hub.drops.copied.Add(1)
		}
		c.queue.finish(m)
	}
	return true
}
