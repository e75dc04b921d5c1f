package hub

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/udpbatch"
)

// relayConn is one allocation's relayed transport address. Its reader forwards
// what comes on channels, see forward.go; the rest goes by pion/turn. A packet
// that the client sends in an indication goes
//
//  1. beyond what its member may send: nowhere;
//  2. to another live relay of this hub and network: into its queue, here;
//  3. to any other address of this machine: nowhere;
//  4. to an address of a form that is never relayed to: nowhere;
//  5. else out of the socket. (pion has checked the permission.)
//
// What comes in and has a permission but no channel, by the queue or by the
// socket, pion reads from ReadFrom. It is counted later, see listener.WriteTo.
type relayConn struct {
	relay     *relay
	owner     identity
	network   config.NetworkKey // the owner's
	share     *share            // its member's
	socket    *udpbatch.Conn
	announced *net.UDPAddr
	in        chan *packet

	client atomic.Pointer[allocation] // nil: pion/turn has not made it yet
	unread unread

	closeOnce sync.Once
	closed    chan struct{}
}

// packet is one datagram on its way to the client by pion/turn.
type packet struct {
	buf  [relayMTU]byte
	n    int
	from *net.UDPAddr
}

// relayMTU is what pion/turn takes of a packet from a peer. On channels there
// is no such limit.
const relayMTU = 1600

// relayQueue is for what comes before there is a channel.
const relayQueue = 64

var packets = sync.Pool{New: func() any { return new(packet) }}

var errNoDeadline = errors.New("relay socket: no deadlines")

// pump forwards what comes to the socket for a client until the socket closes.
func (c *relayConn) pump(to *allocation) {
	for errs := 0; errs < maxReadErrors; {
		b, err := c.socket.ReadBatch()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			errs++
			continue
		}
		errs = 0
		c.forward(b, to)
		b.Release()
	}
}

// enqueue copies a packet for pion/turn. It never blocks: a client that is
// behind loses packets.
func (c *relayConn) enqueue(b []byte, from *net.UDPAddr) {
	if len(b) > relayMTU {
		c.relay.drops.queue.Add(1)
		return
	}
	p := packets.Get().(*packet)
	p.n, p.from = copy(p.buf[:], b), from
	select {
	case c.in <- p:
	default:
		c.relay.drops.queue.Add(1)
		packets.Put(p)
	}
}

// ReadFrom is for pion/turn's one reader.
func (c *relayConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-c.closed:
		return 0, nil, net.ErrClosed
	case p := <-c.in:
		n, from := copy(b, p.buf[:p.n]), p.from
		packets.Put(p)
		return n, from, nil
	}
}

// WriteTo drops without an error what may not go.
func (c *relayConn) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, errors.New("relay: not a UDP address")
	}
	ap := udp.AddrPort()
	switch {
	case !c.share.meter.take(len(b)):
		c.relay.drops.overRate.Add(1)
		return len(b), nil
	case c.relay.isOwn(ap.Addr()):
		c.deliver(b, ap)
		return len(b), nil
	case !c.relay.admitted.formAllowed(ap.Addr()):
		c.relay.drops.forbidden.Add(1)
		return len(b), nil
	}
	c.share.traffic.up.add(1, len(b))
	return c.socket.WriteToUDPAddrPort(b, ap)
}

// deliver hands a packet to another relay of this hub.
func (c *relayConn) deliver(b []byte, to netip.AddrPort) {
	other := c.peer(c.relay.relayAt(to))
	if other == nil {
		c.relay.drops.toHub.Add(1)
		return
	}
	if _, ok := other.bindings.in(addrPort(c.announced)); !ok {
		c.relay.drops.unasked.Add(1)
		return
	}
	c.share.traffic.up.add(1, len(b))
	other.conn.enqueue(b, c.announced)
}

// peer is whose client another relay leads to, if this one may send there.
func (c *relayConn) peer(other *relayConn) *allocation {
	if other == nil || other.network != c.network {
		return nil
	}
	return other.client.Load()
}

// relayAt is the live relay announced at an address, or nil.
func (r *relay) relayAt(a netip.AddrPort) *relayConn {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.relays[a]
}

// Close ends the allocation: nothing more is forwarded, and pion's reader gets
// an error.
func (c *relayConn) Close() error {
	var err error
	c.closeOnce.Do(func() {
		close(c.closed)
		if a := c.client.Load(); a != nil { // else serve sees that it is closed
			a.bindings.close()
		}
		c.relay.forget(c)
		c.unread.count(c.socket, c.relay.drops)
		err = c.socket.Close()
	})
	return err
}

func (c *relayConn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// serve begins to forward for the client that pion/turn has made it for.
func (c *relayConn) serve(a *allocation) {
	c.client.Store(a)
	if c.isClosed() {
		a.bindings.close()
		return
	}
	c.relay.pumps.Go(func() { c.pump(a) })
}

// LocalAddr is the relayed address as members know it.
func (c *relayConn) LocalAddr() net.Addr { return c.announced }

// SetDeadline and its kin are not supported: pion/turn sets none here.
func (c *relayConn) SetDeadline(time.Time) error { return errNoDeadline }

// SetReadDeadline is not supported.
func (c *relayConn) SetReadDeadline(time.Time) error { return errNoDeadline }

// SetWriteDeadline is not supported.
func (c *relayConn) SetWriteDeadline(time.Time) error { return errNoDeadline }
