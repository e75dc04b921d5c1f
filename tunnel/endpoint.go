package tunnel

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"golang.zx2c4.com/wireguard/conn"
)

// Relay carries datagrams through a TURN allocation of this node. Relays are
// compared and used as map keys, so implementations are pointers.
type Relay interface {
	// Server is the address of the TURN server.
	Server() netip.AddrPort

	// Channel returns the number of the channel that the server has bound to
	// the address "to" (RFC 8656 section 12), and false while there is none:
	// then Send sends, and brings it about. It allocates nothing and takes no
	// lock.
	Channel(to netip.AddrPort) (number uint16, ok bool)

	// Send sends b to the address "to", as the allocation's relayed address.
	// It must not block and must not keep b. Safe for concurrent use.
	Send(b []byte, to netip.AddrPort) error
}

// Path is a way to a peer: direct when Relay is nil. The zero Path is none.
type Path struct {
	Local  netip.Addr     // address to send from; zero: the kernel chooses. Unused when relayed
	Remote netip.AddrPort // the peer, or what stands for it: a NAT's or its relay's address
	Relay  Relay          // our relay, or nil
}

// handshakeKeep is how long a handshake message may wait for a path. WireGuard
// makes a new one after RekeyTimeout (5 s) and a jitter of up to 334 ms while
// it still wants a session, so an older one was superseded or given up.
const handshakeKeep = 6 * time.Second

// Endpoint is the one conn.Endpoint of a peer, for as long as the peer is
// known. WireGuard sees a constant pseudo address; the path behind it is
// swapped atomically. Because every packet of the peer is received with this
// same object, WireGuard's roaming changes nothing.
//
// Safe for concurrent use.
type Endpoint struct {
	bind     *Bind
	name     netip.AddrPort // pseudo address, port 0
	nameText string
	nameData []byte
	onWant   func()
	leads    bool     // see crossing.go
	keys     *keyRing // nil: preshared keys do not change
	onLarge  func()   // is told of packets that not every path carries; nil: nobody is
	node     config.NodeKey

	onHandshake func([]byte) // sends a handshake message for which there is no path; nil: nobody does

	used atomic.Bool // data went or came; whoever keeps the time takes it back

	route  atomic.Pointer[route]    // nil: no path. Replaced under mu, refreshed by compare-and-swap
	spread atomic.Pointer[[]*route] // where small packets leave by, too; nil: nowhere

	// mu orders handshake messages and path changes: whichever comes second
	// sends the message. Data never takes it.
	mu          sync.Mutex
	handshake   []byte // the last initiation or response; empty: none
	handshakeAt time.Time
	sentAt      time.Time // zero: it has not left yet
	answered    time.Time // when a response came; zero: not yet
	again       *time.Timer
	early       early // see early.go
	removed     bool

	given   [32]byte // the ephemeral key of the initiation that the device was given last
	givenAt time.Time
}

var _ conn.Endpoint = (*Endpoint)(nil)

// route is a Path with what sending on it needs. Immutable.
type route struct {
	Path
	src  *source    // how to send from Local; nil: the kernel chooses
	made *sourceMap // the state of the sources that src was taken from
}

// SetPath makes p the way that the peer's packets leave by, and its remote
// address one of the peer's sources. The zero Path leaves the peer without a
// path. A handshake message younger than WireGuard's own retry that was written
// before there was a path leaves at once; one that left on the old path, and is
// not answered, leaves once more in a while.
func (e *Endpoint) SetPath(p Path) {
	p.Local, p.Remote = canonicalAddr(p.Local), canonical(p.Remote)
	var r *route
	if p.Remote.IsValid() {
		e.AddSource(p.Relay, p.Remote) // first: the answer may be quick
		r = e.bind.sources.route(p)
	}
	message, waited, changed := e.swap(r)
	if changed && r != nil && message != nil {
		// A failure here is a lost packet; WireGuard tries again.
		_ = e.bind.transmit(e, r, [][]byte{message})
	}
	for _, p := range waited {
		_ = e.bind.transmit(e, r, [][]byte{p})
	}
}

// swap puts r in place and returns a copy of the handshake message that is to
// go out on it, if any, and the data that waited.
func (e *Endpoint) swap(r *route) (message []byte, waited [][]byte, changed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.route.Load()
	if e.removed || old == r || old != nil && r != nil && old.Path == r.Path {
		return nil, nil, false
	}
	e.route.Store(r)
	if r != nil {
		waited, e.early = e.early.packets, early{initiator: e.early.initiator, ahead: e.early.ahead}
	}
	switch {
	case r == nil || !e.answered.IsZero() || len(e.handshake) == 0 || time.Since(e.handshakeAt) >= handshakeKeep:
	case e.sentAt.IsZero():
		message = append(message, e.handshake...)
		e.sentAt = time.Now()
	default:
		e.againLocked() // the old path may have lost it
	}
	return message, waited, true
}

// Spread has small packets leave by these paths as well as by the one that SetPath
// gave, until it is called again. The copies cost the peer nothing: WireGuard takes
// the first of each.
func (e *Endpoint) Spread(paths []Path) {
	var routes []*route
	for _, p := range paths {
		p.Local, p.Remote = canonicalAddr(p.Local), canonical(p.Remote)
		e.AddSource(p.Relay, p.Remote)
		routes = append(routes, e.bind.sources.route(p))
	}
	if len(routes) == 0 {
		e.spread.Store(nil)
		return
	}
	e.spread.Store(&routes)
}

// HeardBy returns when a transport message last came from one of the peer's sources;
// zero: never. It is not authenticated.
func (e *Endpoint) HeardBy(relay Relay, from netip.AddrPort) time.Time {
	c := e.bind.claims.find(claim{relay, canonical(from)})
	if c == nil || c.owner != e {
		return time.Time{}
	}
	return unixNano(c.heard.Load())
}

// AddSource tells that WireGuard packets from an address, directly (relay nil)
// or through a relay, are this peer's. The caller has seen the address
// authenticated by an ICE check of the peer. An address belongs to its newest
// claimant. Of a peer's claims the newest 64 count, and its current path's
// always.
func (e *Endpoint) AddSource(relay Relay, from netip.AddrPort) {
	var keep claim
	if r := e.route.Load(); r != nil {
		keep = claim{r.Relay, r.Remote}
	}
	e.bind.claims.add(e, claim{relay, canonical(from)}, keep)
}

// Path returns the current path, and false when there is none.
func (e *Endpoint) Path() (Path, bool) {
	if r := e.route.Load(); r != nil {
		return r.Path, true
	}
	return Path{}, false
}

// keep remembers a copy of the last handshake message, and returns the route by
// which it is to leave now, or nil. One is enough: an initiation that follows a
// response, or the reverse, replaces what WireGuard is waiting for.
func (e *Endpoint) keep(message []byte) *route {
	if e.keys != nil && message[0] == typeResponse {
		e.keys.answered()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handshake = append(e.handshake[:0], message...)
	e.handshakeAt, e.sentAt, e.answered = time.Now(), time.Time{}, time.Time{}
	if e.again != nil {
		e.again.Stop()
		e.again = nil
	}
	r := e.route.Load()
	if r != nil {
		e.sentAt = e.handshakeAt
		if message[0] == typeInitiation {
			e.againLocked() // one that is lost costs that, and not the 5 s until WireGuard's next
		}
	}
	return r
}

// SendSealed sends the datagrams of a sealed message by the current path. It says
// false where there is none.
func (e *Endpoint) SendSealed(datagrams [][]byte) bool {
	r := e.route.Load()
	return r != nil && len(datagrams) > 0 && e.bind.transmit(e, r, datagrams) == nil
}

// remove ends the endpoint: it has no path and takes none.
func (e *Endpoint) remove() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.removed = true
	if e.again != nil {
		e.again.Stop()
	}
	e.handshake, e.early = nil, early{}
	e.route.Store(nil)
	e.spread.Store(nil)
}

// use notes that packets are data, if they are: transport messages longer than an
// empty one, which is a keepalive.
func (e *Endpoint) use(p []byte) {
	if len(p) > transportMin && p[0] == typeTransport && !e.used.Load() {
		e.used.Store(true)
	}
}

// want asks for a path.
func (e *Endpoint) want() {
	if e.onWant != nil {
		e.onWant()
	}
}

// ClearSrc does nothing: the path says where to send from.
func (e *Endpoint) ClearSrc() {}

// SrcIP returns the local address of the current path, or the zero Addr.
func (e *Endpoint) SrcIP() netip.Addr {
	p, _ := e.Path()
	return p.Local
}

// SrcToString returns SrcIP as text, or "" where there is none.
func (e *Endpoint) SrcToString() string {
	if a := e.SrcIP(); a.IsValid() {
		return a.String()
	}
	return ""
}

// DstIP returns the pseudo address, which WireGuard's rate limiter counts by.
func (e *Endpoint) DstIP() netip.Addr { return e.name.Addr() }

// DstToBytes returns the pseudo address in binary, which WireGuard's cookies
// are bound to. The caller must not change it.
func (e *Endpoint) DstToBytes() []byte { return e.nameData }

// DstToString returns what ParseEndpoint takes to find this endpoint.
func (e *Endpoint) DstToString() string { return e.nameText }

// canonicalAddr brings an address to the one form that tables use: IPv4 as
// IPv4, and no zone, since a scope is given by the interface that is sent on.
func canonicalAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// canonical is canonicalAddr for an address with its port.
func canonical(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(canonicalAddr(a.Addr()), a.Port())
}
