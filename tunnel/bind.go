package tunnel

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/p2ptun/p2ptun/internal/nat64"
	"golang.zx2c4.com/wireguard/conn"
)

// Handler takes what is not WireGuard's out of each received batch. It is
// called from the receive goroutines, from several at once: it must be safe
// for concurrent use, must not block, and must not keep or change b.
type Handler interface {
	// STUN takes a STUN message or a TURN ChannelData message, well formed by
	// its lengths and unauthenticated. local is the address it came to, or the
	// zero Addr where the system does not tell.
	STUN(b []byte, local netip.Addr, from netip.AddrPort)

	// Channel returns the relay and the peer's address that ChannelData with
	// this number belongs to, if it comes from a relay in use. It is asked for
	// packets of the tunnel alone, allocates nothing and takes no lock.
	Channel(number uint16, from netip.AddrPort) (r Relay, peer netip.AddrPort, ok bool)

	// Datagram takes a datagram whose first byte is 0xC0 to 0xFF, which anybody
	// may have sent, by itself or, where relay is not nil, through that. owner is
	// the peer whose address it is, or nil.
	Datagram(b []byte, relay Relay, from netip.AddrPort, owner *Endpoint)
}

// BindConfig is what a Bind is made of.
type BindConfig struct {
	// Handler takes what is not WireGuard's. Required.
	Handler Handler

	// Port is the UDP port to listen on in both families when WireGuard names
	// none. Zero: a random one, kept for as long as the Bind lives.
	Port uint16

	// NAT64 is the way to IPv4 where the machine has none. Nil: it has.
	NAT64 *nat64.Way

	// NoGSO turns the joining of datagrams (UDP GSO and GRO) off, for kernels
	// and drivers that get it wrong.
	NoGSO bool
}

// Bind owns the node's UDP sockets, one per address family on one port, and is
// the conn.Bind of its WireGuard device. Everything the node says to peers and
// relays, WireGuard or not, leaves and arrives here; what is sent where is for
// others to decide.
//
// conn.NewStdNetBind is not used, for it cannot serve a node with two families
// and many addresses: after an IPv4 send it sends IPv6 packets to a mangled
// address, with UDP_GRO it loses the address that a packet came to, and
// without IPv6 it does not tell its port.
//
// Endpoints, their paths and sources outlive Close and Open, which the device
// calls whenever it goes down and up.
//
// Safe for concurrent use.
type Bind struct {
	handler Handler
	nat64   *nat64.Way
	gso     bool

	v4, v6   atomic.Pointer[socket] // nil: closed, or the machine lacks the family
	sources  sources
	claims   claims
	relayed  chan *relayedPacket
	counters counters

	// mu guards the sockets' life and the names. Sending and receiving do not
	// take it, and nothing is called while it is held.
	mu     sync.Mutex
	port   uint16        // last used, or configured
	closed chan struct{} // closed by Close; nil: not open
	names  map[string]*Endpoint
	apart  struct{ v4, v6 bool } // nothing is sent joined to this family
}

var _ conn.Bind = (*Bind)(nil)

// NewBind returns a Bind that is not open yet.
func NewBind(c BindConfig) *Bind {
	return &Bind{
		handler: c.Handler,
		nat64:   c.NAT64,
		gso:     !c.NoGSO,
		port:    c.Port,
		relayed: make(chan *relayedPacket, relayedQueue),
		names:   make(map[string]*Endpoint),
	}
}

// Open opens the sockets on a port: the given one, else the one of the last
// Open, else the configured one, else a random one. It is called by the device.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	if port == 0 {
		port = b.port
	}
	v4, v6, port, err := openSockets(port, b.gso)
	if err != nil {
		return nil, 0, err
	}
	b.port, b.closed = port, make(chan struct{})
	b.v4.Store(v4)
	b.v6.Store(v6)
	b.applyJoining()

	fns := []conn.ReceiveFunc{b.receiveRelayed(b.closed)}
	for _, s := range []*socket{v4, v6} {
		if s != nil {
			fns = append(fns, b.receiveFrom(s))
		}
	}
	return fns, port, nil
}

// Close closes the sockets and ends the receive functions. Closing what is not
// open does nothing.
func (b *Bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed == nil {
		return nil
	}
	close(b.closed)
	b.closed = nil
	return closeSockets(b.v4.Swap(nil), b.v6.Swap(nil))
}

// Port returns the port in use, or the one that the next Open will ask for; 0
// before the first Open of a Bind with a random port.
func (b *Bind) Port() uint16 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.port
}

// SetMark sets the firewall mark of what is sent (Linux only). It holds until
// Close; the device sets it again after Open.
func (b *Bind) SetMark(mark uint32) error {
	for _, s := range []*socket{b.v4.Load(), b.v6.Load()} {
		if s == nil {
			continue
		}
		if err := s.SetMark(mark); err != nil {
			return fmt.Errorf("set the mark of a socket: %w", err)
		}
	}
	return nil
}

// BatchSize is the most packets that one call carries.
func (b *Bind) BatchSize() int { return conn.IdealBatchSize }

// NewEndpoint returns a new endpoint, without a path. name is its pseudo
// address, never sent to: unique among the node's peers and constant, such as
// the peer's address inside the tunnel. onWant, unless nil, is called each
// time WireGuard sends while there is no path, from WireGuard's goroutines: it
// must not block or call the device, and limits its own rate.
//
// To give a peer its endpoint before any packet, configure the device with
// "endpoint=" and the endpoint's DstToString.
func (b *Bind) NewEndpoint(name netip.Addr, onWant func()) *Endpoint {
	e := &Endpoint{bind: b, name: netip.AddrPortFrom(name, 0), onWant: onWant}
	e.nameText = e.name.String()
	e.nameData = name.AsSlice()
	b.claims.open(e)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.names[e.nameText] = e
	return e
}

// RemoveEndpoint ends an endpoint: packets from its sources are dropped, and
// so is what is still sent to it. Remove the peer from the device first.
func (b *Bind) RemoveEndpoint(e *Endpoint) {
	b.mu.Lock()
	if b.names[e.nameText] == e {
		delete(b.names, e.nameText)
	}
	b.mu.Unlock()
	e.remove()
	b.claims.remove(e)
}

// ParseEndpoint returns the endpoint whose DstToString is s. It makes none: a
// peer's address is not WireGuard's to choose.
func (b *Bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.names[s]; e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("endpoint %q is not a known peer's", s)
}

// NetworkChanged forgets which interface has which local address. To be called
// when the machine's addresses or routes change.
func (b *Bind) NetworkChanged() { b.sources.reset() }

// socketFor returns the socket that reaches an address.
func (b *Bind) socketFor(a netip.Addr) (*socket, error) {
	s, other := b.v6.Load(), b.v4.Load()
	if a.Is4() {
		s, other = other, s
	}
	switch {
	case s != nil:
		return s, nil
	case other != nil:
		return nil, syscall.EAFNOSUPPORT
	}
	return nil, errClosed
}

// errClosed is what sending on a Bind that is not open returns.
var errClosed = fmt.Errorf("send: %w", net.ErrClosed)

// Counters tells how many packets were dropped, by reason, since the Bind was
// made.
type Counters struct {
	Junk          uint64 // nothing that belongs on this port
	UnknownSource uint64 // WireGuard packets from an address of no peer
	NoPath        uint64 // sent by WireGuard to a peer without a path
	RelayedFull   uint64 // relayed packets that came faster than WireGuard took them
	ReadErrors    uint64 // failed reads; not packets
}

type counters struct {
	junk, unknownSource, noPath, relayedFull, readErrors atomic.Uint64
}

// Counters returns the present counts.
func (b *Bind) Counters() Counters {
	c := &b.counters
	return Counters{
		Junk:          c.junk.Load(),
		UnknownSource: c.unknownSource.Load(),
		NoPath:        c.noPath.Load(),
		RelayedFull:   c.relayedFull.Load(),
		ReadErrors:    c.readErrors.Load(),
	}
}
