package peer

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// Path is a way to a peer that ICE checks have proved. Paths are comparable.
type Path struct {
	Local  netip.Addr     // leave from here; zero when Relay is set
	Remote netip.AddrPort // send to this
	Relay  *Relay         // through this; nil: direct from the socket
}

// Config is what a Peer needs. Underlay, Pair, Send and OnPath are required.
type Config struct {
	Underlay *Underlay
	Pair     *signaling.Pair // the Peer's from now on
	Log      *slog.Logger    // with the peer's name

	// Events takes what happens with the peer. Nil: the Peer's own, which end
	// with it.
	Events *Events

	// Controlling is the ICE role (RFC 8445 section 6.1.1), by key order. A
	// conflict is settled by the agents.
	Controlling bool

	// Offerer makes this side offer as soon as the peer is online; the other
	// leaves it a second. Set it on one side, by key order.
	Offerer bool

	// Send sends a sealed message to the peer, best effort. It must not block
	// or keep sealed.
	Send func(sealed []byte)

	// SendNote sends a sealed note, as Send does, by the way that seems best for
	// it. Nil: Send does it.
	SendNote func(sealed []byte)

	// OnPath takes each new path. A path is replaced, never taken away.
	// Called from Run's goroutine.
	OnPath func(Path)

	// OnMTU takes the largest datagram that the path is to be sent, in bytes
	// above UDP: what probes have proved, and BasePayload for a path of which
	// they have not proved anything yet. It is called at each change, on Run's
	// goroutine. Nil: nobody is told, and nothing is probed.
	OnMTU func(payload int)

	// OnSource is told that the peer is at addr, seen over relay (nil: the
	// socket): packets from there are this peer's. It is called before the
	// peer's check from there is answered, so before it can send anything
	// else, and again for each later check. From any goroutine; it must not
	// block. Nil: nobody is told.
	OnSource func(relay *Relay, addr netip.AddrPort)

	// OnSession is told, on Run's goroutine, that a session with the peer
	// begins: what Tell sends from now on it can open. clock is what the peer's
	// clock showed, signed by it. Nil: nobody is told.
	OnSession func(clock time.Time)

	// OnNote takes what the peer has told. It is called on Run's goroutine
	// and may keep the note. Nil: notes are dropped.
	OnNote func(note []byte)

	// OnBye is told, on Run's goroutine, that the peer has ended the session. Nil:
	// nobody is told.
	OnBye func()

	// Handshake returns the tunnel's first message to the peer, if it has no
	// keys yet, or nil: the offer takes it along, so that it need not wait for a
	// path. OnHandshake takes the one that came in an offer, when the session's
	// key is Pending, or in the session, see SendHandshake. Both are called on
	// Run's goroutine. Nil: nothing is taken along, or what came is dropped.
	Handshake   func() []byte
	OnHandshake func(message []byte)

	// OnHope takes each way that a first check has just left by: the peer may be
	// there, and takes data that comes behind the check. Called from any
	// goroutine; it must not block. Nil: nobody is told.
	OnHope func(Path)

	// Keys takes the preshared key of each session. Nil: nobody does.
	Keys Keys

	// Tunnel says whether data passes. Nil: checks alone prove a path.
	Tunnel Tunnel

	// Alive is when the last authentic packet of the tunnel came from the
	// peer. While that is recent no new session is made for what ICE thinks
	// of the old one. Nil: never. Safe for concurrent use.
	Alive func() time.Time
}

// Keys takes the keys that sessions give to the tunnel. A key comes before
// anything can use the session's paths. Of one Peer all calls but Proved come
// from Run's goroutine.
type Keys interface {
	// Pending takes the key of a session that is about to be answered, and
	// returns when it will outlive a crash. The peer does not have it yet.
	Pending(config.PresharedKey)

	// Proved says that the peer has the key that Pending took. It is called
	// before the check that shows it is answered. It must not block.
	Proved(config.PresharedKey)

	// Agreed takes the key of a session that the peer answered: it has it, and
	// will use it once this side has shown that it has it, too. It must not
	// block.
	Agreed(config.PresharedKey)
}

type noKeys struct{}

func (noKeys) Pending(config.PresharedKey) {}
func (noKeys) Proved(config.PresharedKey)  {}
func (noKeys) Agreed(config.PresharedKey)  {}

// Peer is one other node as seen from this one. Its methods are safe for
// concurrent use and do not block, but for Run.
type Peer struct {
	cfg   Config
	in    *inbox
	snap  atomic.Pointer[Snapshot]
	shown atomic.Pointer[shown]

	large atomic.Bool  // Large was called since the size was last confirmed
	armed atomic.Bool  // Sending is to be told of
	left  atomic.Int64 // when Sending told last, Unix nanoseconds
}

// New returns a Peer that is idle until Run.
func New(c Config) *Peer {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Events == nil {
		c.Events = new(Events)
	}
	if c.OnSource == nil {
		c.OnSource = func(*Relay, netip.AddrPort) {}
	}
	if c.SendNote == nil {
		c.SendNote = c.Send
	}
	if c.OnSession == nil {
		c.OnSession = func(time.Time) {}
	}
	if c.OnNote == nil {
		c.OnNote = func([]byte) {}
	}
	if c.OnBye == nil {
		c.OnBye = func() {}
	}
	if c.Handshake == nil {
		c.Handshake = func() []byte { return nil }
	}
	if c.OnHandshake == nil {
		c.OnHandshake = func([]byte) {}
	}
	if c.OnHope == nil {
		c.OnHope = func(Path) {}
	}
	if c.Keys == nil {
		c.Keys = noKeys{}
	}
	if c.Tunnel == nil {
		c.Tunnel = noTunnel{}
	}
	if c.Alive == nil {
		c.Alive = func() time.Time { return time.Time{} }
	}
	p := &Peer{cfg: c, in: newInbox()}
	p.snap.Store(&Snapshot{State: Idle, Path: PathNone})
	p.shown.Store(new(shown))
	return p
}

// Run keeps the session with the peer until ctx ends; it then tells the peer, as
// far as Send still can, closes the session and returns nil. Call it once.
func (p *Peer) Run(ctx context.Context) error {
	p.cfg.Underlay.watch(p, p.in.poke)
	defer p.cfg.Underlay.unwatch(p)
	newLoop(p).run(ctx)
	return nil
}

// Receive takes a sealed message from the peer, and keeps it.
func (p *Peer) Receive(sealed []byte) {
	if !p.in.receive(sealed) {
		p.cfg.Underlay.drops.overflow.Add(1)
	}
}

// SetOnline takes the peer's presence at the hub, and its boot epoch when it
// is online. That a peer goes offline changes nothing but that it is sent no
// more offers.
func (p *Peer) SetOnline(online bool, epoch signaling.Epoch) { p.in.setOnline(online, epoch) }

// Tell sends a note of up to MaxNote bytes to the peer, best effort, if there
// is a session; what both have to know in the end they compare at OnSession.
func (p *Peer) Tell(note []byte) {
	if len(note) > MaxNote || !p.in.tell(note) {
		p.cfg.Underlay.drops.overflow.Add(1)
	}
}

// SendHandshake sends a handshake message of the tunnel's inside the session, if
// there is one; without, the next offer takes what Config.Handshake gives.
func (p *Peer) SendHandshake(message []byte) { p.in.handshake(message) }

// Rest ends the checks of a session that stands, and keeps its path and what it
// can seal. To be called on both sides. It lasts until Wake, or an offer of the
// peer's, until an address or a relay of this node's is another, or Alive is
// 45 s ago.
func (p *Peer) Rest() { p.in.rested() }

// Wake says that packets wait for a path.
func (p *Peer) Wake() { p.in.wanted() }

// Large says that datagrams leave of a size that not every path carries: as long
// as they do, it is confirmed now and then that they arrive. It may be called
// for each packet.
func (p *Peer) Large() {
	if !p.large.Load() && !p.large.Swap(true) {
		p.in.poke()
	}
}

// Sending says that data leaves while none waits for an answer. It may be called for
// each packet.
func (p *Peer) Sending() {
	if p.armed.Load() && p.armed.Swap(false) {
		p.left.Store(time.Now().UnixNano())
		p.in.poke()
	}
}

// Receiving says that data comes again, after a while without.
func (p *Peer) Receiving() { p.in.poke() }

// Snapshot returns how things stand.
func (p *Peer) Snapshot() Snapshot { return *p.snap.Load() }
