package hub

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// sourceListener counts each connection against its source from the moment it
// is accepted, before TLS costs anything. A connection from this machine may
// be a proxy's, which says whom it speaks for only later: see Hub.enter.
type sourceListener struct {
	net.Listener
	strangers *strangers
	drops     *drops
}

// sourceConn is a connection that counts until release, or to its end.
type sourceConn struct {
	*net.TCPConn
	release func() // nil: it does not count yet; may be called again
}

func (l *sourceListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &sourceConn{TCPConn: conn.(*net.TCPConn)}
		from := addrPort(conn.RemoteAddr()).Addr()
		if from.IsLoopback() {
			return c, nil
		}
		release, ok := l.strangers.enter(from)
		if !ok {
			l.drops.refused.Add(1)
			conn.Close()
			continue
		}
		c.release = sync.OnceFunc(release)
		return c, nil
	}
}

func (c *sourceConn) Close() error {
	if c.release != nil {
		c.release()
	}
	return c.TCPConn.Close()
}

// A request knows the connection it came by.
type sourceKey struct{}

func withSource(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, sourceKey{}, c)
}

// enter counts a request against whom it comes from, unless its connection
// does already. The release may be called once.
func (h *Hub) enter(r *http.Request) (release func(), ok bool) {
	if c, _ := r.Context().Value(sourceKey{}).(*sourceConn); c != nil && c.release != nil {
		return c.release, true
	}
	return h.strangers.enter(source(r))
}
