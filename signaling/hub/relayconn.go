package hub

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// relayConn is one allocation's relayed transport address. A packet that the
// client sends goes
//
//  1. beyond what its member may send: nowhere;
//  2. to another live relay of this hub and network: into its queue, here;
//  3. to any other address of this machine: nowhere;
//  4. to an address of a form that is never relayed to: nowhere;
//  5. else out of the socket. (pion has checked the permission.)
//
// What comes in, by the queue or by the socket, pion reads from ReadFrom. It
// is counted later, see listener.WriteTo: what has no permission is not the
// member's doing.
type relayConn struct {
	relay     *relay
	network   config.NetworkKey
	share     *share // its member's
	socket    *net.UDPConn
	announced *net.UDPAddr
	in        chan *packet

	closeOnce sync.Once
	closed    chan struct{}
}

// packet is one datagram on its way to the client.
type packet struct {
	buf  [relayMTU]byte
	n    int
	from *net.UDPAddr
}

// relayMTU is what pion/turn takes of a packet from a peer.
const relayMTU = 1600

// relayQueue is some 10 ms at 200 Mbit/s.
const relayQueue = 256

var packets = sync.Pool{New: func() any { return new(packet) }}

var errNoDeadline = errors.New("relay socket: no deadlines")

// pump moves packets from the socket to the queue until the socket closes.
func (c *relayConn) pump() {
	for errs := 0; errs < maxReadErrors; {
		p := packets.Get().(*packet)
		n, from, err := c.socket.ReadFromUDPAddrPort(p.buf[:])
		if err != nil {
			packets.Put(p)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			errs++
			continue
		}
		errs = 0
		if c.relay.isOwn(from.Addr()) {
			c.relay.drops.fromHub.Add(1) // relays here do not send over sockets
			packets.Put(p)
			continue
		}
		p.n, p.from = n, net.UDPAddrFromAddrPort(from)
		c.enqueue(p)
	}
}

// enqueue never blocks: a client that is behind loses packets.
func (c *relayConn) enqueue(p *packet) {
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
	return c.socket.WriteToUDPAddrPort(b, ap)
}

// deliver hands a packet to another relay of this hub.
func (c *relayConn) deliver(b []byte, to netip.AddrPort) {
	c.relay.mu.RLock()
	other := c.relay.relays[to]
	c.relay.mu.RUnlock()
	if other == nil || other.network != c.network || len(b) > relayMTU {
		c.relay.drops.toHub.Add(1)
		return
	}
	p := packets.Get().(*packet)
	p.n, p.from = copy(p.buf[:], b), c.announced
	other.enqueue(p)
}

// Close ends the allocation: pion's reader gets an error.
func (c *relayConn) Close() error {
	var err error
	c.closeOnce.Do(func() {
		c.relay.forget(c)
		close(c.closed)
		err = c.socket.Close()
	})
	return err
}

// LocalAddr is the relayed address as members know it.
func (c *relayConn) LocalAddr() net.Addr { return c.announced }

// SetDeadline and its kin are not supported: pion/turn sets none here.
func (c *relayConn) SetDeadline(time.Time) error { return errNoDeadline }

// SetReadDeadline is not supported.
func (c *relayConn) SetReadDeadline(time.Time) error { return errNoDeadline }

// SetWriteDeadline is not supported.
func (c *relayConn) SetWriteDeadline(time.Time) error { return errNoDeadline }
