package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/p2ptun/p2ptun/signaling"
)

// The hub's one TCP port serves all: the first byte of a connection tells TURN over
// TCP, which begins with a STUN request, whose first byte is zero, from TLS and from
// HTTP. Under TLS the protocol that was agreed on (ALPN) tells, "stun.turn" (RFC 7443)
// or HTTP, or without one, as many TURN clients have it, the first byte again. TURN in
// a WebSocket is for where a proxy lets nothing else through.

// switchboard is a net.Listener for HTTP, with or without TLS, that serves TURN
// itself.
type switchboard struct {
	net.Listener // has passed the gate
	hub          *Hub
	tls          *tls.Config // nil: no TLS
	http         chan net.Conn
	closed       chan struct{}
}

// acceptWait is how long to wait after a connection that could not be taken, longer
// after each in a row.
const acceptWait = 5 * time.Millisecond

// run takes connections until the listener is closed.
func (b *switchboard) run(ctx context.Context) error {
	defer close(b.closed)
	for failed := 0; ; {
		c, err := b.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // no descriptor is free, say
			if failed++; failed == maxReadErrors {
				return fmt.Errorf("signaling: %w", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(min(time.Duration(failed)*acceptWait, time.Second)):
			}
			continue
		}
		failed = 0
		if !b.hub.conns.start(func() { b.greet(ctx, c) }) {
			c.Close()
		}
	}
}

// greet finds out what a connection is for, and sends it on its way.
func (b *switchboard) greet(ctx context.Context, c net.Conn) {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	transport, raw := "TCP", c
	first, err := b.peek(&c)
	if err == nil && first != 0 && b.tls != nil {
		transport = "TLS"
		first, err = b.secure(ctx, &c)
	}
	switch {
	case err != nil:
		raw.Close()
	case first == 0:
		b.hub.serveStream(ctx, transport, c, true, func() {})
	default:
		select {
		case b.http <- c:
		case <-ctx.Done():
			raw.Close()
		}
	}
}

// secure makes the TLS session, and says with which byte the client begins in it: it
// is not waited for where the protocol was agreed on.
func (b *switchboard) secure(ctx context.Context, c *net.Conn) (first byte, err error) {
	conn := tls.Server(*c, b.tls)
	ctx, cancel := context.WithTimeout(ctx, b.hub.timing.request)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return 0, err
	}
	*c = conn
	switch conn.ConnectionState().NegotiatedProtocol {
	case signaling.RelayProtocol:
		return 0, nil
	case "":
		return b.peek(c)
	}
	return 'G', nil
}

// peek reads the first byte, which c then begins with again.
func (b *switchboard) peek(c *net.Conn) (byte, error) {
	first := make([]byte, 1)
	(*c).SetReadDeadline(time.Now().Add(b.hub.timing.request))
	if _, err := io.ReadFull(*c, first); err != nil {
		return 0, err
	}
	(*c).SetReadDeadline(time.Time{})
	*c = &begun{Conn: *c, first: first}
	return first[0], nil
}

// Accept is for net/http.
func (b *switchboard) Accept() (net.Conn, error) {
	select {
	case c := <-b.http:
		return c, nil
	case <-b.closed:
		return nil, net.ErrClosed
	}
}

// begun is a connection of which the first bytes were read.
type begun struct {
	net.Conn
	first []byte
}

func (c *begun) Read(b []byte) (int, error) {
	if len(c.first) > 0 && len(b) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// NetConn is the connection beneath.
func (c *begun) NetConn() net.Conn { return c.Conn }
