package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/p2ptun/p2ptun/signaling"
)

// The hub's one TCP port serves all: the first byte of a connection tells TURN over
// TCP, which begins with a STUN request (two zero bits, and a method that is none of
// TLS's record types), from TLS and from HTTP. Under TLS the protocol is agreed on
// (ALPN): "stun.turn" (RFC 7443) or HTTP. TURN in a WebSocket is for where a proxy
// lets nothing else through.

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

// greet reads the first byte, and sends the connection on its way.
func (b *switchboard) greet(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	first := make([]byte, 1)
	c.SetReadDeadline(time.Now().Add(b.hub.timing.request))
	if _, err := c.Read(first); err != nil {
		c.Close()
		return
	}
	c.SetReadDeadline(time.Time{})
	c = &begun{Conn: c, first: first}
	if first[0] == 0 {
		b.hub.serveStream(ctx, "TCP", c)
		return
	}
	if b.tls != nil {
		c = tls.Server(c, b.tls)
	}
	select {
	case b.http <- c:
	case <-ctx.Done():
		c.Close()
	}
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

// serveTLS serves TURN where that was agreed on (ALPN). net/http waits for it, and
// closes the connection.
func (h *Hub) serveTLS(ctx context.Context) map[string]func(*http.Server, *tls.Conn, http.Handler) {
	return map[string]func(*http.Server, *tls.Conn, http.Handler){
		signaling.RelayProtocol: func(_ *http.Server, c *tls.Conn, _ http.Handler) {
			done := make(chan struct{})
			if h.conns.start(func() { defer close(done); h.serveStream(ctx, "TLS", c) }) {
				<-done
			}
		},
	}
}
