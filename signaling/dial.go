package signaling

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
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
	early    *Handshake    // of the hello that went with the request; nil: none did
	sent     time.Time     // the hello was
}

// upgrade makes a WebSocket to a URL over an open connection.
func (c *Client) upgrade(ctx context.Context, raw net.Conn, hub config.HubKey, to string) (*socket, error) {
	s := &socket{hub: hub}
	conn, own, err := secure(ctx, raw, hub, to, httpProtocol)
	if err != nil {
		return nil, err
	}
	s.own = own
	if s.exporter, err = Exporter(conn); err != nil {
		return nil, fmt.Errorf("%s: %w", to, err)
	}
	header, err := c.earlyHello(conn, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", to, err)
	}
	s.Conn, err = upgradeTo(ctx, conn, to+Path, Subprotocol, header)
	return s, err
}

// secure makes the TLS session, if the URL asks for one, for a protocol. own says
// that the certificate is the hub's: a stranger is refused before anything is sent.
func secure(ctx context.Context, raw net.Conn, hub config.HubKey, to, protocol string) (_ net.Conn, own bool, err error) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, false, err
	}
	if u.Scheme != "wss" {
		return raw, false, nil
	}
	conn := tls.Client(raw, &tls.Config{
		ServerName:         u.Hostname(),
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{protocol},
		InsecureSkipVerify: true, // not skipped, but done below
		VerifyConnection: func(cs tls.ConnectionState) (err error) {
			own, err = checkCertificate(cs.PeerCertificates, hub, u.Hostname(), nil)
			return err
		},
	})
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var stranger *certificateError
	switch err := conn.HandshakeContext(ctx); {
	case errors.As(err, &stranger):
		return nil, false, stranger.error
	case err != nil:
		return nil, false, fmt.Errorf("cannot reach the hub at %s: %w", to, err)
	}
	return conn, own, nil
}

// earlyHello is the hello as a header, where nobody but the hub can read it: a
// proxy may take no long ones.
func (c *Client) earlyHello(conn net.Conn, s *socket) (http.Header, error) {
	if !s.own {
		return nil, nil
	}
	nonce, err := EarlyNonce(conn)
	if err != nil {
		return nil, err
	}
	h, frame, err := c.hello(nonce, s.hub, s.exporter)
	if err != nil || len(frame) > maxEarlyHello {
		return nil, err
	}
	s.early, s.sent = h, time.Now()
	return http.Header{HelloHeader: {string(frame)}}, nil
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
	if _, ok := raw.(*proxied); ok {
		l.local, l.welcome.Observed = netip.Addr{}, "" // the proxy's
	}
	return l, nil
}

// handshake proves both ends to each other. It also says how long the hub took.
func (c *Client) handshake(s *socket) (*Welcome, time.Duration, error) {
	m, err := readKnown(s.Conn)
	if w, ok := m.(*Welcome); ok && s.early != nil {
		return s.welcomed(s.early, w)
	}
	challenge, err := as[*Challenge](m, err)
	if err != nil {
		return nil, 0, err
	}
	return c.challenged(s, challenge)
}

// challenged answers the hub's challenge.
func (c *Client) challenged(s *socket, challenge *Challenge) (*Welcome, time.Duration, error) {
	if len(challenge.Nonce) != NonceSize {
		return nil, 0, fmt.Errorf("handshake with the hub: a nonce of %d bytes", len(challenge.Nonce))
	}
	if challenge.Hub != s.hub {
		return nil, 0, anotherHub(challenge.Hub, s.hub)
	}
	// The hub's word that a proxy ends TLS is taken where one may, and no
	// danger if it is a lie: a hub that ends TLS signs and takes nothing
	// that does not cover its own session.
	var exporter []byte
	if s.own || challenge.TLS {
		exporter = s.exporter
	}
	h, frame, err := c.hello(challenge.Nonce, challenge.Hub, exporter)
	if err != nil {
		return nil, 0, err
	}
	s.sent = time.Now()
	if err := writeFrame(s.Conn, frame); err != nil {
		return nil, 0, fmt.Errorf("hello: %w", err)
	}
	welcome, err := as[*Welcome](readKnown(s.Conn))
	if err != nil {
		return nil, 0, err
	}
	return s.welcomed(h, welcome)
}

// hello makes the frame that proves this node to the hub.
func (c *Client) hello(hubNonce []byte, hub config.HubKey, exporter []byte) (*Handshake, []byte, error) {
	nonce := make([]byte, NonceSize)
	rand.Read(nonce)
	h := &Handshake{
		HubNonce: hubNonce, NodeNonce: nonce, Hub: hub,
		Network: c.cfg.Network, Node: c.cfg.Self.Node.Public(), TLSExporter: exporter,
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
	return h, frame, err
}

// welcomed takes the hub's proof, and says how long it took.
func (s *socket) welcomed(h *Handshake, w *Welcome) (*Welcome, time.Duration, error) {
	if !h.VerifyWelcome(w.Signature) {
		return nil, 0, fmt.Errorf("the hub's welcome: %w", ErrSignature)
	}
	return w, time.Since(s.sent), nil
}

// as takes what readKnown returned, which must be a T; the hub may refuse instead.
func as[T Message](m Message, err error) (T, error) {
	var zero T
	switch m := m.(type) {
	case nil:
		return zero, err
	case T:
		return m, nil
	case *Error:
		return zero, m
	}
	return zero, fmt.Errorf("handshake with the hub: got %s, want %s", m.frameType(), zero.frameType())
}

// readKnown reads the next frame of a known type; with an error it is nil.
func readKnown(conn *websocket.Conn) (Message, error) {
	for {
		m, err := read(conn)
		if err != nil {
			return nil, fmt.Errorf("handshake with the hub: %w", err)
		}
		if m != nil {
			return m, nil
		}
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
