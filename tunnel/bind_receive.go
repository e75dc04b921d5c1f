package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/internal/nat64"
	"github.com/p2ptun/p2ptun/internal/udpbatch"
	"golang.zx2c4.com/wireguard/conn"
)

// The way of an incoming packet:
//
//  1. ReadInto takes a run of datagrams of one sender off the socket, each into
//     a buffer of the device's.
//  2. sources.learn notes the local address that they came to. What has come
//     through a NAT64 is from the IPv4 address that it stands for from here on.
//  3. classify tells each datagram by its first bytes. STUN and sealed
//     datagrams go to the Handler, junk is counted. Their size becomes 0, which
//     the device passes over. ChannelData of a peer loses its header, and what
//     is left is told anew.
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
//
// Before it reads it lets others run: so a batch is decrypted and delivered
// while it is in the processor's cache, and the next waits in the kernel and not
// in buffers of 64 KiB a packet. Measured at 1 Gbit/s and above: 11 MB of memory
// instead of 120, and 6 % less processor time.
func (b *Bind) receiveFrom(s *socket) conn.ReceiveFunc {
	failures := 0
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		runtime.Gosched()
		for {
			n, a, err := s.ReadInto(bufs, sizes)
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
func (b *Bind) accept(bufs [][]byte, sizes []int, eps []conn.Endpoint, a udpbatch.Arrival) (found bool) {
	a.From, a.Local = canonical(a.From), canonicalAddr(a.Local)
	b.sources.learn(a.Local, a.Interface)
	if from, ok := b.nat64.In(a.From); ok {
		a.From, a.Local = from, nat64.Local
	}
	var from sender
	for i, buf := range bufs {
		p := buf[:sizes[i]]
		k, inner, relayed := b.unframe(p, a.From, &from)
		sizes[i] = 0
		switch {
		case k != kindWireGuard && k != kindSealed:
			b.handle(k, p, a)
		case k == kindSealed:
			b.sealed(inner, &from)
		case !from.known(b):
			b.counters.unknownSource.Add(1)
		case isHandshake(inner) && !b.handshakeFor(from.owner, inner):
		default:
			from.heard(inner) // first: inner is part of buf
			if relayed {
				copy(buf, inner)
			}
			sizes[i], eps[i] = len(inner), from.owner
			found = true
		}
	}
	return found
}

// sender is whom datagrams are from. A run has one, nearly always, so that it is
// looked up once.
type sender struct {
	claim
	channel uint16 // that they came by; 0: none
	looked  bool   // up
	marked  bool   // a transport message came
	*claimed
}

// direct makes s the sender of what came from an address by itself.
func (s *sender) direct(from netip.AddrPort) {
	if s.channel != 0 || s.from != from {
		*s = sender{claim: claim{from: from}}
	}
}

// known says whether the sender is a peer's address.
func (s *sender) known(b *Bind) bool {
	if !s.looked {
		s.claimed, s.looked = b.claims.find(s.claim), true
	}
	return s.claimed != nil
}

// heard notes a packet of the sender's; when, once per run.
func (s *sender) heard(p []byte) {
	s.owner.use(p)
	if !s.marked && p[0] == typeTransport {
		s.claimed.heard.Store(time.Now().UnixNano())
		s.marked = true
	}
}

// unframe tells what a datagram from an address is, and makes s its sender. If a
// peer's relay has wrapped a packet of the tunnel, that is it; what else is in
// ChannelData is for others to look at, who know what they asked for there.
func (b *Bind) unframe(p []byte, from netip.AddrPort, s *sender) (k packetKind, inner []byte, relayed bool) {
	if k = classify(p); k != kindChannelData {
		s.direct(from)
		return k, p, false
	}
	inner = p[channelHeaderSize:][:binary.BigEndian.Uint16(p[2:])]
	wrapped := classify(inner)
	if wrapped != kindWireGuard && wrapped != kindSealed {
		return k, p, false
	}
	if number := binary.BigEndian.Uint16(p); s.channel != number {
		r, peer, ok := b.handler.Channel(number, from)
		if !ok {
			return k, p, false
		}
		*s = sender{claim: claim{r, peer}, channel: number}
	}
	return wrapped, inner, true
}

// handle passes on what is not WireGuard's.
func (b *Bind) handle(k packetKind, p []byte, a udpbatch.Arrival) {
	switch k {
	case kindSTUN, kindChannelData:
		b.handler.STUN(p, a.Local, a.From)
	default:
		b.counters.junk.Add(1)
	}
}

// sealed passes on what anybody may have sent.
func (b *Bind) sealed(p []byte, s *sender) {
	var owner *Endpoint
	if s.known(b) {
		owner = s.owner
	}
	b.handler.Datagram(p, s.relay, s.from, owner)
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
	k := classify(p)
	if k != kindWireGuard && k != kindSealed {
		b.counters.junk.Add(1)
		return
	}
	s := sender{claim: claim{r, canonical(from)}}
	switch {
	case k == kindSealed:
		b.sealed(p, &s)
	case !s.known(b):
		b.counters.unknownSource.Add(1)
	case isHandshake(p) && !b.handshakeFor(s.owner, p):
	default:
		s.heard(p)
		b.enqueue(s.owner, p)
	}
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
		runtime.Gosched() // as receiveFrom does
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
