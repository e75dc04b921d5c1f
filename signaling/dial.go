package signaling

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
)

// socket is a WebSocket and the TLS session beneath it.
type socket struct {
	*websocket.Conn
	hub      config.HubKey // who it has to be
	own      bool          // the hub's own certificate: nobody ends TLS in between
	exporter []byte        // nil without TLS
}

// upgrade makes a WebSocket to a URL over an open connection.
func (c *Client) upgrade(ctx context.Context, raw net.Conn, hub config.HubKey, to string) (*socket, error) {
	s := &socket{hub: hub}
	d := websocket.Dialer{
		NetDialContext:   func(context.Context, string, string) (net.Conn, error) { return raw, nil },
		HandshakeTimeout: dialTimeout, Subprotocols: []string{Subprotocol},
		ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10,
		TLSClientConfig: c.tlsConfig(to, s),
	}
	conn, resp, err := d.DialContext(ctx, to+Path, nil)
	var stranger *certificateError
	switch {
	case errors.As(err, &stranger):
		return nil, stranger.error
	case errors.Is(err, websocket.ErrBadHandshake) && resp != nil:
		return nil, fmt.Errorf("%s answered %q: it is no p2ptun hub, or a proxy stands before it", to, resp.Status)
	case err != nil:
		return nil, fmt.Errorf("cannot reach the hub at %s: %w", to, err)
	case conn.Subprotocol() != Subprotocol:
		conn.Close()
		return nil, fmt.Errorf("%s does not speak %s", to, Subprotocol)
	}
	s.Conn = conn
	if s.exporter, err = Exporter(conn.NetConn()); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", to, err)
	}
	return s, nil
}

// tlsConfig notes in s whose certificate it is. A stranger is refused before
// the hello, which holds the record and the ticket, is sent.
func (c *Client) tlsConfig(to string, s *socket) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // not skipped, but done below
		VerifyConnection: func(cs tls.ConnectionState) error {
			u, err := url.Parse(to)
			if err != nil {
				return err
			}
			s.own, err = checkCertificate(cs.PeerCertificates, s.hub, u.Hostname(), nil)
			return err
		},
	}
}

// connect makes the connection to the hub over an open one.
func (c *Client) connect(ctx context.Context, raw net.Conn, hub config.HubKey, to string) (l *link, err error) {
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		raw.Close()
		close(closed)
	})
	defer func() {
		if !stop() {
			<-closed
		}
	}()
	s, err := c.upgrade(ctx, raw, hub, to)
	if err != nil {
		return nil, err
	}
	s.SetReadLimit(MaxFrame)
	s.SetReadDeadline(time.Now().Add(dialTimeout))
	l = &link{conn: s.Conn, local: localAddr(s.Conn), out: make(chan []byte, sendQueue), heard: make(chan struct{}, 1)}
	if l.welcome, l.rtt, err = c.handshake(s); err != nil {
		return nil, err
	}
	return l, nil
}

// handshake proves both ends to each other. It also says how long the hub took.
func (c *Client) handshake(s *socket) (*Welcome, time.Duration, error) {
	challenge, err := expect[*Challenge](s.Conn)
	if err != nil {
		return nil, 0, err
	}
	if len(challenge.Nonce) != NonceSize {
		return nil, 0, fmt.Errorf("handshake with the hub: a nonce of %d bytes", len(challenge.Nonce))
	}
	if challenge.Hub != s.hub {
		return nil, 0, anotherHub(challenge.Hub, s.hub)
	}
	nonce := make([]byte, NonceSize)
	rand.Read(nonce)
	h := Handshake{HubNonce: challenge.Nonce, NodeNonce: nonce, Hub: challenge.Hub, Network: c.cfg.Network, Node: c.cfg.Self.Node.Public()}
	// The hub's word that a proxy ends TLS is taken where one may, and no
	// danger if it is a lie: a hub that ends TLS signs and takes nothing
	// that does not cover its own session.
	if s.own || challenge.TLS {
		h.TLSExporter = s.exporter
	}
	cred := c.cfg.Credential()
	hello := &Hello{
		Network: h.Network, Node: h.Node, Nonce: nonce, Signature: h.SignHello(c.cfg.Self.Node),
		Epoch: c.cfg.Self.Epoch, Presence: c.presence,
		Proof: cred.Proof, Ticket: cred.Ticket, Since: cred.Since,
	}
	if len(cred.Access) > 0 {
		hello.Access = h.AccessProof(cred.Access)
	}
	frame, err := Encode(hello)
	if err != nil {
		return nil, 0, err
	}
	sent := time.Now()
	if err := writeFrame(s.Conn, frame); err != nil {
		return nil, 0, fmt.Errorf("hello: %w", err)
	}
	welcome, err := expect[*Welcome](s.Conn)
	if err != nil {
		return nil, 0, err
	}
	if !h.VerifyWelcome(welcome.Signature) {
		return nil, 0, fmt.Errorf("the hub's welcome: %w", ErrSignature)
	}
	return welcome, time.Since(sent), nil
}

// expect reads the next frame of a known type, which must be a T; the hub may
// refuse instead.
func expect[T Message](conn *websocket.Conn) (T, error) {
	var zero T
	for {
		m, err := read(conn)
		if err != nil {
			return zero, fmt.Errorf("handshake with the hub: %w", err)
		}
		switch m := m.(type) {
		case nil:
			continue
		case T:
			return m, nil
		case *Error:
			return zero, m
		}
		return zero, fmt.Errorf("handshake with the hub: got %s, want %s", m.frameType(), zero.frameType())
	}
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
