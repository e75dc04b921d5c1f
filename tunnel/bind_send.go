package tunnel

import (
	"net/netip"

	"golang.zx2c4.com/wireguard/conn"
)

// The way of an outgoing packet:
//
//  1. The device calls Send with a batch of encrypted packets of one peer.
//  2. A handshake message is copied into the endpoint, for the path to come.
//  3. Without a path the rest waits a little, see early.go, and a path is asked
//     for.
//  4. A direct path knows the peer's address and how to send from its local
//     one; both are prepared, unless a local address changed since.
//  5. A relayed path takes the packets to the relay, each as ChannelData. Until
//     the relay has bound a channel they go one by one, as it sees fit.
//  6. Without IPv4 here, what is for an IPv4 address leaves for the one that stands
//     for it behind the network's NAT64.
//  7. socket.write has the kernel cut equal packets of one large send.
//
// Nothing here allocates or copies per packet, and peers share no lock.

// Send sends what WireGuard has for a peer. A peer without a path is no error.
// An error means that packets were lost, which WireGuard bears.
func (b *Bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	e, ok := ep.(*Endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	var r *route
	handshake := len(bufs) == 1 && isHandshake(bufs[0])
	if handshake {
		r = e.keep(bufs[0])
		e.answer(bufs[0])
	} else {
		r = e.route.Load()
		if len(bufs) > 0 { // the rest is of the same session, and a keepalive comes alone
			e.use(bufs[0])
			if e.keys != nil {
				e.keys.sent(bufs[0])
			}
		}
	}
	if r == nil {
		if r = e.hold(bufs, handshake); r == nil {
			e.want()
			return nil
		}
	}
	e.noteSize(bufs)
	if s := e.spread.Load(); s != nil && isSmall(bufs) {
		for _, other := range *s {
			_ = b.transmit(e, other, bufs) // tried, no more
		}
	}
	return b.transmit(e, r, bufs)
}

// What leaves by several paths at once: batches of this many packets and bytes each
// at the most, so that bulk is never doubled.
const (
	spreadPackets = 4
	spreadSize    = 256
)

func isSmall(bufs [][]byte) bool {
	for _, p := range bufs {
		if len(p) > spreadSize {
			return false
		}
	}
	return len(bufs) <= spreadPackets
}

// transmit sends bufs on a route of e.
func (b *Bind) transmit(e *Endpoint, r *route, bufs [][]byte) error {
	if r.Relay != nil {
		return b.relay(r, bufs)
	}
	if r.src != nil && r.made != b.sources.current() {
		next := b.sources.route(r.Path)
		e.route.CompareAndSwap(r, next) // fails when the path changed, or r is spread to
		r = next
	}
	return b.write(bufs, r.Remote, 0, r.src)
}

// relay sends bufs through the route's relay.
func (b *Bind) relay(r *route, bufs [][]byte) error {
	if number, ok := r.Relay.Channel(r.Remote); ok {
		return b.write(bufs, r.Relay.Server(), number, nil)
	}
	var first error
	for _, p := range bufs {
		if err := r.Relay.Send(p, r.Remote); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// SendTo sends one datagram that is not WireGuard's, from the local address
// unless that is the zero Addr. Where the system can send from there no more,
// it leaves from where the kernel chooses. It does not keep p.
func (b *Bind) SendTo(p []byte, local netip.Addr, to netip.AddrPort) error {
	return b.write([][]byte{p}, canonical(to), 0, b.sources.get(canonicalAddr(local)))
}

// write sends a batch to one address. A failure that the source address may
// have caused is tried once without it; when that helps, it was the cause.
func (b *Bind) write(bufs [][]byte, to netip.AddrPort, channel uint16, src *source) error {
	to = b.nat64.Out(to)
	s, err := b.socketFor(to.Addr())
	if err != nil {
		return err
	}
	control := src.controlFor(to.Addr())
	if err = s.write(bufs, to, channel, control); control != nil && isSourceError(err) {
		if retry := s.write(bufs, to, channel, nil); retry == nil {
			b.sources.disown(src)
			return nil
		}
	}
	return err
}
