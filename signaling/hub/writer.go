package hub

import (
	"fmt"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/signaling"
)

// wake has a writer look at the queue. One that runs may have looked already:
// then another waits for it. It does not block.
func (c *conn) wake() {
	if c.wakened.CompareAndSwap(false, true) {
		c.hub.conns.start(c.write)
	}
}

// write sends what the queue has, after the greeting.
func (c *conn) write() {
	c.writer.Lock()
	defer c.writer.Unlock()
	c.wakened.Store(false)
	if c.closed {
		return
	}
	if err := c.writeAll(); err != nil {
		c.log.Debug("writer ended", "err", err)
		c.closed = true
		c.ws.Close()
	}
}

func (c *conn) writeAll() error {
	if !c.greeted {
		c.greeted = true
		c.timer = time.AfterFunc(c.hub.timing.ping, c.tick)
		if err := c.greet(c.since); err != nil {
			return err
		}
	}
	for {
		if c.pingDue.Swap(false) {
			c.timer.Reset(c.hub.timing.ping)
			if err := c.ping(); err != nil {
				return err
			}
		}
		it, ok := c.queue.next()
		if !ok {
			return nil
		}
		if err := c.do(it); err != nil {
			return err
		}
		if it.last {
			c.linger()
			return nil
		}
	}
}

// tick is called by the timer.
func (c *conn) tick() {
	c.pingDue.Store(true)
	c.wake()
}

// endWriting waits for the writer and gives back what the greeting took. No
// other comes after it.
func (c *conn) endWriting() {
	c.writer.Lock()
	defer c.writer.Unlock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, f := range c.release {
		f()
	}
}

func (c *conn) ping() error {
	return c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(c.hub.timing.write))
}

func (c *conn) do(it item) error {
	switch {
	case it.since != nil:
		return c.sendStatements(*it.since, true)
	case it.records:
		return c.sendStatements(c.sent, false)
	case it.upgrade:
		return c.upgrade()
	}
	return c.writeFrame(it.message)
}

// linger gives the node time to read the last frame.
func (c *conn) linger() {
	c.closed = true
	c.closeWrite()
	c.timer.Stop()
	c.timer = time.AfterFunc(lingerFor, func() { c.ws.Close() })
}

// greet takes the node's seat: Welcome, records, presence, credentials.
func (c *conn) greet(since uint64) error {
	member := c.member.Load()
	welcome := &signaling.Welcome{Signature: c.shake.SignWelcome(c.hub.identity), Member: member}
	if c.remote.IsValid() {
		welcome.Observed = c.remote.String()
	}
	if err := c.writeFrame(welcome); err != nil {
		return err
	}
	if !member {
		c.attach() // before it can ask: the keeper's answer would find nobody
		return c.sendKeeper()
	}
	// Watching before reading: no change falls between.
	c.onRelease(c.hub.store.Watch(c.network(), tableStatements, c.queue.recordsChanged))
	if c.remote.IsValid() {
		c.onRelease(c.hub.admitted.hold(c.network(), c.remote.Addr()))
	}
	if err := c.sendStatements(since, true); err != nil {
		return err
	}
	c.attach()
	var revoked bool
	if err := c.roster.look(func(r *signaling.Roster) { revoked = r.IsRevoked(c.node()) }); err != nil {
		return err
	}
	if revoked { // after the handshake, before it had its seat
		c.queue.finish(c.revocation(c.node()))
		return nil
	}
	c.queue.push(item{message: c.hub.credentials.issue(identity{c.network(), c.node()})})
	return nil
}

func (c *conn) onRelease(f func()) { c.release = append(c.release, f) }

func (c *conn) attach() {
	c.onRelease(c.hub.bus.Attach(Seat{
		Network: c.network(), Node: c.node(), Online: c.online,
		Member: c.member.Load(), Deliver: c.deliver, Of: c,
	}))
}

// upgrade makes a joiner a member when its record is there: the same greeting
// again, on the same connection. It keeps its seat until it has the new one, so
// that nothing is lost in between.
func (c *conn) upgrade() error {
	if c.member.Load() {
		return nil
	}
	var rec *signaling.SignedRecord
	err := c.roster.look(func(r *signaling.Roster) { rec, _ = r.Record(c.node()) })
	if err != nil {
		return err
	}
	if rec == nil || !rec.Live(time.Now()) {
		return nil // not admitted after all
	}
	joiners := c.release
	c.release = nil
	c.member.Store(true)
	c.known()
	c.log.Info("joined", "name", rec.Name)
	err = c.greet(0)
	for _, f := range joiners {
		f()
	}
	return err
}

// sendKeeper gives a joiner the one record it needs: its keeper's sealing key
// is there.
func (c *conn) sendKeeper() error {
	var rec *signaling.SignedRecord
	if err := c.roster.look(func(r *signaling.Roster) { rec, _ = r.Record(c.keeper) }); err != nil {
		return err
	}
	if rec == nil {
		return fmt.Errorf("keeper %v has no record", c.keeper)
	}
	return c.writeFrame(&signaling.Members{Statements: [][]byte{rec.Bytes()}})
}
