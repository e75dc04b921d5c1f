package signaling

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
)

// Timing of a node's connection to its hub.
const (
	dialTimeout  = 5 * time.Second        // one URL, handshake included
	pingInterval = 5 * time.Second        // keeps NAT mappings and finds dead connections
	deadAfter    = 2 * pingInterval       // without a byte from the hub
	writeTimeout = 5 * time.Second        // one frame
	backoffMin   = 250 * time.Millisecond // doubled at each failure, with jitter
	backoffMax   = 10 * time.Second
	copiedMin    = time.Minute     // instead, after a CodeCopied: at random, so that
	copiedMax    = 5 * time.Minute // one of the two machines has its turn for a while
	sendQueue    = 256             // frames
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
}

// Client keeps a node connected to its hub.
type Client struct {
	cfg      ClientConfig
	presence []byte
	kick     chan struct{}
	hub      atomic.Pointer[config.Hub]
	link     atomic.Pointer[link] // nil: no connection

	netDial func(ctx context.Context, network, addr string) (net.Conn, error) // nil: package net's; for tests
}

// link is a connection that the hub has welcomed.
type link struct {
	conn  *websocket.Conn
	local netip.Addr // our end's; zero: not known
	out   chan []byte
}

// NewClient returns a client that Run connects.
func NewClient(cfg ClientConfig) *Client {
	c := &Client{
		cfg:      cfg,
		presence: SignPresence(cfg.Self.Node, cfg.Self.Network, cfg.Self.Epoch),
		kick:     make(chan struct{}, 1),
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
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Run connects, and connects again with backoff, until ctx ends; it returns
// ctx's error. It ends every goroutine it started.
func (c *Client) Run(ctx context.Context) error {
	backoff, attempt := backoffMin, 0
	for {
		hub := c.hub.Load()
		urls := hub.URLs
		welcomed, err := c.connect(ctx, hub.Key, urls[attempt%len(urls)])
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if welcomed {
			backoff = backoffMin
		} else if attempt++; attempt%len(urls) != 0 && !errors.As(err, new(*Error)) {
			continue // the hub's other addresses before a word or a pause
		}
		c.cfg.Handle(&Down{Err: err})
		pause := backoff/2 + mrand.N(backoff)
		if refusal := (*Error)(nil); errors.As(err, &refusal) && refusal.Code == CodeCopied {
			pause = copiedMin + mrand.N(copiedMax-copiedMin)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.kick:
		case <-time.After(pause):
		}
		backoff = min(2*backoff, backoffMax)
	}
}

// Moved tells of a change of network, and whether the machine has an address
// still. A connection from one that is gone is given up now, not when it has
// been silent for long, and a pause before the next attempt ends. It is safe for
// concurrent use.
func (c *Client) Moved(has func(netip.Addr) bool) {
	if s := c.link.Load(); s != nil && s.local.IsValid() && !has(s.local) {
		s.conn.Close() // the reader notices
	}
	select {
	case c.kick <- struct{}{}:
	default:
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

// connect makes one connection and serves it to its end.
func (c *Client) connect(ctx context.Context, key config.HubKey, url string) (welcomed bool, err error) {
	s, err := c.dial(ctx, key, url)
	if err != nil {
		return false, err
	}
	conn := s.Conn
	defer conn.Close()
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.Close()
		close(closed)
	})
	defer func() {
		if !stop() {
			<-closed
		}
	}()
	conn.SetReadLimit(MaxFrame)
	conn.SetReadDeadline(time.Now().Add(dialTimeout))
	welcome, err := c.handshake(s)
	if err != nil {
		return false, err
	}
	return true, c.serve(ctx, conn, welcome)
}

// serve delivers what the hub sends, and sends what is queued, until the
// connection ends. Send works by the time the Welcome is delivered.
func (c *Client) serve(ctx context.Context, conn *websocket.Conn, welcome *Welcome) error {
	alive := func() error { return conn.SetReadDeadline(time.Now().Add(deadAfter)) }
	alive()
	conn.SetPongHandler(func(string) error { return alive() })
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan []byte, sendQueue)
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write(ctx, conn, out)
	}()
	c.link.Store(&link{conn: conn, local: localAddr(conn), out: out})
	defer func() {
		c.link.Store(nil)
		cancel()
		conn.Close()
		<-written
	}()
	c.cfg.Handle(welcome)
	var refusal *Error
	for {
		m, err := read(conn)
		if err != nil && refusal != nil {
			return refusal // it says more than the end that follows it
		}
		if err != nil {
			return fmt.Errorf("connection to the hub: %w", err)
		}
		alive()
		if e, ok := m.(*Error); ok && e.To == nil {
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
func (c *Client) write(ctx context.Context, conn *websocket.Conn, out <-chan []byte) {
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case frame := <-out:
			err = writeFrame(conn, frame)
		case <-ping.C:
			err = conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout))
		}
		if err != nil {
			conn.Close() // the reader says why
			return
		}
	}
}

func writeFrame(conn *websocket.Conn, frame []byte) error {
	conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return conn.WriteMessage(websocket.TextMessage, frame)
}
