package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.zx2c4.com/wireguard/conn"
)

// The way of an incoming packet:
//
//  1. socket.read takes a run of datagrams of one sender off the socket, the
//     first into the device's buffer, and cuts them apart.
//  2. sources.learn notes the local address that they came to.
//  3. classify tells each datagram by its first bytes. STUN, ChannelData and
//     sealed datagrams go to the Handler, junk is counted. Their size becomes
//     0, which the device passes over.
//  4. claims.lookup finds the peer that the sender is, once per run. WireGuard
//     packets of nobody are counted and dropped.
//  5. handshakeFor keeps back an initiation that crosses ours, and all but one
//     response to it.
//  6. The device gets the batch, each packet with its peer's one Endpoint.
//
// What came through a relay enters at Relayed, passes 3 to 5 there, and waits
// in one queue for a receive function of its own.
//
// Nothing here allocates per packet.

// readRetries is how many failed reads in a row are retried at once.
const readRetries = 16

// relayedQueue bounds the relayed packets that wait for the device: about
// 10 ms of 1 Gbit/s.
const relayedQueue = 1024

// receiveFrom returns the receive function of a socket.
//
// The device ends a receive goroutine for good at an error that calls itself
// lasting, and after ten of any other kind in a row, with a pause of a third of
// a second after each. A node must outlive both (no memory, an interface that
// went away), so lasting failure is reported as an error, which brings the
// pause, and as an empty batch, which starts the count anew, in turn.
func (b *Bind) receiveFrom(s *socket) conn.ReceiveFunc {
	failures := 0
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		for {
			n, a, err := s.read(bufs, sizes)
			if errors.Is(err, net.ErrClosed) {
				return 0, net.ErrClosed
			}
			if err != nil {
				b.counters.readErrors.Add(1)
				failures++
				switch failures % (2 * readRetries) {
				case readRetries:
					// Wrapped, it is no net.Error, which could call itself lasting.
					return 0, fmt.Errorf("read from the socket: %w", err)
				case 0:
					return 0, nil
				}
				continue
			}
			failures = 0
			if b.accept(bufs[:n], sizes, eps, a) {
				return n, nil
			}
		}
	}
}

// accept sorts a run of datagrams (stages 2 to 5) and reports whether any is
// for the device.
func (b *Bind) accept(bufs [][]byte, sizes []int, eps []conn.Endpoint, a arrival) (found bool) {
	b.sources.learn(a.local, a.ifindex)
	var owner *Endpoint
	for i, buf := range bufs {
		p := buf[:sizes[i]]
		if k := classify(p); k != kindWireGuard {
			sizes[i] = 0
			b.handle(k, p, a)
			continue
		}
		if owner == nil {
			owner = b.claims.lookup(claim{from: a.from})
		}
		if owner == nil {
			sizes[i] = 0
			b.counters.unknownSource.Add(1)
			continue
		}
		if isHandshake(p) && !b.handshakeFor(owner, p) {
			sizes[i] = 0
			continue
		}
		owner.use(p)
		eps[i] = owner
		found = true
	}
	return found
}

// handle passes on what is not WireGuard's.
func (b *Bind) handle(k packetKind, p []byte, a arrival) {
	switch k {
	case kindSTUN, kindChannelData:
		b.handler.STUN(p, a.local, a.from)
	case kindSealed:
		b.sealed(p, claim{from: a.from})
	default:
		b.counters.junk.Add(1)
	}
}

// sealed passes on a sealed datagram of a peer's.
func (b *Bind) sealed(p []byte, from claim) {
	if owner := b.claims.lookup(from); owner != nil {
		b.handler.Datagram(p, owner)
		return
	}
	b.counters.unknownSource.Add(1)
}

// relayedPacket is a WireGuard packet that waits for the device.
type relayedPacket struct {
	data []byte
	from *Endpoint
}

var relayedPackets = sync.Pool{New: func() any { return new(relayedPacket) }}

// Relayed takes a packet that came through relay r, sent by from, to the
// device, if it is WireGuard's and a peer's, or to the Handler if it is sealed.
// It copies p and never blocks: when the device does not keep up the packet is
// dropped and counted.
func (b *Bind) Relayed(r Relay, from netip.AddrPort, p []byte) {
	switch classify(p) {
	case kindWireGuard:
	case kindSealed:
		b.sealed(p, claim{r, canonical(from)})
		return
	default:
		b.counters.junk.Add(1)
		return
	}
	owner := b.claims.lookup(claim{r, canonical(from)})
	if owner == nil {
		b.counters.unknownSource.Add(1)
		return
	}
	if isHandshake(p) && !b.handshakeFor(owner, p) {
		return
	}
	owner.use(p)
	b.enqueue(owner, p)
}

// enqueue has the device get a copy of a packet of e's.
func (b *Bind) enqueue(e *Endpoint, p []byte) {
	packet := relayedPackets.Get().(*relayedPacket)
	packet.data, packet.from = append(packet.data[:0], p...), e
	select {
	case b.relayed <- packet:
	default:
		b.counters.relayedFull.Add(1)
		relayedPackets.Put(packet)
	}
}

// refused is told the name of an endpoint whose response the device refused.
func (b *Bind) refused(name string) {
	b.mu.Lock()
	e := b.names[name]
	b.mu.Unlock()
	if e != nil && e.keys != nil {
		e.keys.refused()
	}
}

// receiveRelayed returns the receive function of all relays. One serves them
// all, because the device holds 8 MiB of buffers for each function.
func (b *Bind) receiveRelayed(closed <-chan struct{}) conn.ReceiveFunc {
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		select {
		case <-closed:
			return 0, net.ErrClosed
		default:
		}
		n := 0
		take := func(p *relayedPacket) {
			sizes[n], eps[n] = copy(bufs[n], p.data), p.from
			p.from = nil
			relayedPackets.Put(p)
			n++
		}
		select {
		case <-closed:
			return 0, net.ErrClosed
		case p := <-b.relayed:
			take(p)
		}
		for n < len(bufs) {
			select {
			case p := <-b.relayed:
				take(p)
			default:
				return n, nil
			}
		}
		return n, nil
	}
}
