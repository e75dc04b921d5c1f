package signaling

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
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
	sendQueue    = 256 // frames
)

// Credential is what a hello shows besides the node's own keys.
type Credential struct {
	Record []byte // signed record of a member
	Access []byte // hub's access key, of a network's creator
	Ticket []byte // of a joiner
	Since  uint64 // newest member sequence taken from this hub
}

// Down is delivered like a frame when a connection or an attempt ended.
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
	// *Down when the connection or the attempt ended. It is called from one
	// goroutine, and must not block on the Client.
	Handle func(Message)
	Log    *slog.Logger
}

// Client keeps a node connected to its hub.
type Client struct {
	cfg      ClientConfig
	presence []byte
	kick     chan struct{}
	out      atomic.Pointer[chan []byte] // of the standing connection
}

// NewClient returns a client that Run connects.
func NewClient(cfg ClientConfig) *Client {
	return &Client{
		cfg:      cfg,
		presence: SignPresence(cfg.Self.Node, cfg.Self.Network, cfg.Self.Epoch),
		kick:     make(chan struct{}, 1),
	}
}

// Run connects, and connects again with backoff, until ctx ends; it returns
// ctx's error. It ends every goroutine it started.
func (c *Client) Run(ctx context.Context) error {
	backoff, attempt := backoffMin, 0
	for {
		urls := c.cfg.Hub.URLs
		welcomed, err := c.connect(ctx, urls[attempt%len(urls)])
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.cfg.Handle(&Down{Err: err})
		if welcomed {
			backoff = backoffMin
		} else {
			attempt++
		}
		if attempt%len(urls) != 0 && !welcomed {
			continue // the hub's other addresses before any pause
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.kick:
		case <-time.After(backoff/2 + mrand.N(backoff)):
		}
		backoff = min(2*backoff, backoffMax)
	}
}

// Kick ends the pause before the next attempt, as after a change of network.
// It is safe for concurrent use.
func (c *Client) Kick() {
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
	out := c.out.Load()
	if out == nil {
		return false
	}
	select {
	case *out <- frame:
		return true
	default:
		return false
	}
}

// connect makes one connection and serves it to its end.
func (c *Client) connect(ctx context.Context, url string) (welcomed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := dial(ctx, url)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	conn.SetReadLimit(MaxFrame)
	conn.SetReadDeadline(time.Now().Add(dialTimeout))
	if err := c.handshake(conn); err != nil {
		return false, err
	}

	alive := func() error { return conn.SetReadDeadline(time.Now().Add(deadAfter)) }
	alive()
	conn.SetPongHandler(func(string) error { return alive() })
	out := make(chan []byte, sendQueue)
	c.out.Store(&out)
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write(ctx, conn, out)
	}()
	defer func() {
		c.out.Store(nil)
		cancel()
		conn.Close()
		<-written
	}()
	for {
		m, err := read(conn)
		if err != nil {
			return true, fmt.Errorf("connection to the hub: %w", err)
		}
		alive()
		if m != nil {
			c.cfg.Handle(m)
		}
	}
}

func dial(ctx context.Context, url string) (*websocket.Conn, error) {
	d := websocket.Dialer{HandshakeTimeout: dialTimeout, Subprotocols: []string{Subprotocol}, ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10}
	conn, resp, err := d.DialContext(ctx, url+Path, nil)
	switch {
	case errors.Is(err, websocket.ErrBadHandshake) && resp != nil:
		return nil, fmt.Errorf("%s answered %q: it is no p2ptun hub, or a proxy stands before it", url, resp.Status)
	case err != nil:
		return nil, fmt.Errorf("cannot reach the hub at %s: %w", url, err)
	case conn.Subprotocol() != Subprotocol:
		conn.Close()
		return nil, fmt.Errorf("%s does not speak %s", url, Subprotocol)
	}
	return conn, nil
}

// handshake proves both ends to each other and delivers the Welcome.
func (c *Client) handshake(conn *websocket.Conn) error {
	challenge, err := expect[*Challenge](conn)
	if err != nil {
		return err
	}
	if challenge.Hub != c.cfg.Hub.Key {
		return fmt.Errorf("the hub says it is %v, not %v: its state was lost or another hub took its address", challenge.Hub, c.cfg.Hub.Key)
	}
	nonce := make([]byte, NonceSize)
	rand.Read(nonce)
	h := Handshake{HubNonce: challenge.Nonce, NodeNonce: nonce, Hub: challenge.Hub, Network: c.cfg.Network, Node: c.cfg.Self.Node.Public()}
	cred := c.cfg.Credential()
	hello := &Hello{
		Network: h.Network, Node: h.Node, Nonce: nonce, Signature: h.SignHello(c.cfg.Self.Node),
		Epoch: c.cfg.Self.Epoch, Presence: c.presence,
		Record: cred.Record, Ticket: cred.Ticket, Since: cred.Since,
	}
	if len(cred.Access) > 0 {
		hello.Access = h.AccessProof(cred.Access)
	}
	frame, err := Encode(hello)
	if err != nil {
		return err
	}
	if err := writeFrame(conn, frame); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	welcome, err := expect[*Welcome](conn)
	if err != nil {
		return err
	}
	if !h.VerifyWelcome(welcome.Signature) {
		return fmt.Errorf("the hub's welcome: %w", ErrSignature)
	}
	c.cfg.Handle(welcome)
	return nil
}

// expect reads one frame, which must be a T; the hub may refuse instead.
func expect[T Message](conn *websocket.Conn) (T, error) {
	var zero T
	m, err := read(conn)
	if err != nil {
		return zero, fmt.Errorf("handshake with the hub: %w", err)
	}
	switch m := m.(type) {
	case T:
		return m, nil
	case *Error:
		return zero, m
	}
	return zero, fmt.Errorf("handshake with the hub: want %s", zero.frameType())
}

func read(conn *websocket.Conn) (Message, error) {
	_, r, err := conn.NextReader()
	if err != nil {
		return nil, err
	}
	frame, err := io.ReadAll(r) // SetReadLimit bounds it
	if err != nil {
		return nil, err
	}
	return Decode(frame)
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
