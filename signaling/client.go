package signaling

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
)

// Timing of a node's connection to its hub.
const (
	dialTimeout  = 5 * time.Second  // all URLs, up to an open connection, and then the handshake
	pingInterval = 5 * time.Second  // keeps NAT mappings and finds dead connections
	deadAfter    = 2 * pingInterval // without a byte from the hub
	writeTimeout = 5 * time.Second  // one frame

	// Pauses are doubled at each failure, and jittered by half. The longest lets
	// a node be back within 3 s of its hub, and spreads a thousand over 1.2 s.
	backoffMin = 600 * time.Millisecond
	backoffMax = 1200 * time.Millisecond
	refusedMax = 10 * time.Second // instead, while the hub refuses this node

	copiedMin = time.Minute     // instead, after a CodeCopied: at random, so that
	copiedMax = 5 * time.Minute // one of the two machines has its turn for a while
	sendQueue = 256             // frames
)

// Credential is what a hello shows besides the node's own keys.
type Credential struct {
	Proof  [][]byte // of a member, see Hello
	Access []byte   // hub's access key, of a network's creator
	Ticket []byte   // of a joiner
	Since  uint64   // newest Members.Sequence taken from this hub
}

// Down is delivered like a frame when a connection ended, when the hub refused
// one, or when none of its addresses could be reached.
type Down struct{ Err error }

func (*Down) frameType() string { return "" }

// ClientConfig is what a Client needs; all fields are required.
type ClientConfig struct {
	Hub     config.Hub
	Network config.NetworkKey
	Self    *Self
	// Credential is asked at each attempt.
	Credential func() Credential
	// Handle takes each frame in order, the verified Welcome first, and a
	// *Down when the connection ended or no address of the hub could be reached. It is called from one
	// goroutine, and must not block on the Client.
	Handle func(Message)
	Log    *slog.Logger

	// Dial opens the TCP connection, to an address and port as URLs have them. Nil:
	// package net's.
	Dial DialFunc
}

// Client keeps a node connected to its hub.
type Client struct {
	cfg      ClientConfig
	presence []byte
	kick     chan struct{} // ends a pause
	suspect  chan struct{} // Probe was called
	lost     atomic.Bool   // Renew was
	probed   atomic.Int64  // when it last ended a pause, in Unix nanoseconds
	hub      atomic.Pointer[config.Hub]
	link     atomic.Pointer[link]   // nil: no connection
	last     atomic.Pointer[string] // the URL that worked last

	netDial DialFunc // as ClientConfig.Dial
}

// link is a connection that the hub has welcomed.
type link struct {
	conn    *websocket.Conn
	welcome *Welcome
	local   netip.Addr // our end's; zero: not known
	out     chan []byte
	rtt     time.Duration // of the hello; fixed
	heard   chan struct{} // something came
	leaving atomic.Bool   // another is being made
}

// NewClient returns a client that Run connects.
func NewClient(cfg ClientConfig) *Client {
	c := &Client{
		cfg:      cfg,
		presence: SignPresence(cfg.Self.Node, cfg.Self.Network, cfg.Self.Epoch),
		kick:     make(chan struct{}, 1),
		suspect:  make(chan struct{}, 1),
		netDial:  cfg.Dial,
	}
	c.hub.Store(&cfg.Hub)
	return c
}

// SetHub makes the client leave its hub for another. It is safe for concurrent
// use, and does nothing for the hub that it has.
func (c *Client) SetHub(hub config.Hub) {
	if hub.Equal(*c.hub.Swap(&hub)) {
		return
	}
	if s := c.link.Load(); s != nil {
		s.conn.Close() // the reader notices
	}
	signal(c.kick)
}

// signal makes the reader of c look, if it is not about to already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run connects, and connects again with backoff, until ctx ends; it returns
// ctx's error. It ends every goroutine it started.
func (c *Client) Run(ctx context.Context) error {
	backoff := backoffMin
	for {
		l, err := c.reach(ctx)
		for ; err == nil; l, err = c.serve(ctx, l) {
			backoff = backoffMin
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.cfg.Handle(&Down{Err: err})
		if errors.Is(err, errNoAnswer) { // the tries were their own pauses
			backoff = backoffMin
		}
		pause, longest := backoff/2+mrand.N(backoff), backoffMax
		if refusal := (*Error)(nil); errors.As(err, &refusal) {
			longest = refusedMax
			if refusal.Code == CodeCopied {
				pause = copiedMin + mrand.N(copiedMax-copiedMin)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.kick:
		case <-time.After(pause):
		}
		backoff = min(2*backoff, longest)
	}
}

// Moved tells of a change of network, and whether the machine has an address
// still. A connection from one that is gone is given up now, not when it has
// been silent for long; any other is probed, and a pause before the next attempt
// ends. It is safe for concurrent use.
func (c *Client) Moved(has func(netip.Addr) bool) {
	switch s := c.link.Load(); {
	case s == nil:
		signal(c.kick)
	case s.local.IsValid() && !has(s.local):
		signal(c.kick)
		s.conn.Close() // the reader notices
	default:
		signal(c.suspect)
	}
}

// Send queues a frame on the standing connection. It says false when there is
// none or its queue is full. It is safe for concurrent use and does not block.
func (c *Client) Send(m Message) bool {
	frame, err := Encode(m)
	if err != nil {
		c.cfg.Log.Error("frame not sent", "err", err)
		return false
	}
	s := c.link.Load()
	if s == nil {
		return false
	}
	select {
	case s.out <- frame:
		return true
	default:
		return false
	}
}

// serve delivers what the hub sends, and sends what is queued, until the
// connection ends, or another has taken its place, which it returns. Send works
// by the time the Welcome is delivered.
func (c *Client) serve(ctx context.Context, l *link) (next *link, err error) {
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	ctx, cancel := context.WithCancel(ctx)
	c.lost.Store(false) // said of the one before
	select {
	case <-c.suspect:
	default:
	}
	var work sync.WaitGroup
	ended, renewed := make(chan struct{}), make(chan *link, 1)
	work.Go(func() { c.write(ctx, l) })
	work.Go(func() { defer close(renewed); c.renew(ctx, l, ended, renewed) })
	c.link.Store(l)
	err = c.read(l)
	close(ended)
	l.conn.Close()
	c.link.Store(nil)
	select {
	case next = <-renewed:
	default:
		if l.leaving.Load() && ctx.Err() == nil {
			c.cfg.Handle(&Down{Err: err})
			next = <-renewed // it may be near
		}
	}
	cancel()
	work.Wait()
	stop()
	if next == nil {
		next = <-renewed // nil: closed
	}
	if next == nil {
		return nil, err
	}
	return next, nil
}

// read delivers the Welcome, and frames until the connection ends.
func (c *Client) read(l *link) error {
	alive := func() error {
		signal(l.heard)
		return l.conn.SetReadDeadline(time.Now().Add(deadAfter))
	}
	alive()
	l.conn.SetPongHandler(func(string) error { return alive() })
	c.cfg.Handle(l.welcome)
	var refusal *Error
	for {
		m, err := read(l.conn)
		if err != nil && refusal != nil {
			return refusal // it says more than the end that follows it
		}
		if err != nil {
			return fmt.Errorf("connection to the hub: %w", err)
		}
		alive()
		if e, ok := m.(*Error); ok && e.To == nil {
			if e.Code == CodeReplaced && l.leaving.Load() {
				continue // by the one that is being made
			}
			refusal = e
		}
		if m != nil {
			c.cfg.Handle(m)
		}
	}
}

func localAddr(conn *websocket.Conn) netip.Addr {
	a, _ := conn.LocalAddr().(*net.TCPAddr)
	if a == nil {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap()
}

// write sends queued frames and pings until ctx ends or a write fails.
func (c *Client) write(ctx context.Context, l *link) {
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case frame := <-l.out:
			err = writeFrame(l.conn, frame)
		case <-ping.C:
			err = l.ping(writeTimeout)
		}
		if err != nil {
			l.conn.Close() // the reader says why
			return
		}
	}
}

// ping may be called beside a write.
func (l *link) ping(within time.Duration) error {
	return l.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(within))
}

func writeFrame(conn *websocket.Conn, frame []byte) error {
	conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return conn.WriteMessage(websocket.TextMessage, frame)
}
