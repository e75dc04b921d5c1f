package hub

import (
	"container/list"
	"net"
	"sync"
)

// gate bounds the connections that have not said a valid hello, from before
// their first byte: each costs a socket, a goroutine and soon a TLS handshake.
// It is safe for concurrent use.
type gate struct {
	sources *strangers
	drops   *drops
	most    int // connections, of all sources together
	// A proxy on this machine speaks for many; what counts then is whom it
	// speaks for, see source. Tests limit loopback too.
	limitLoopback bool

	mu      sync.Mutex // guards waiting
	waiting list.List  // of *gateConn, oldest first
}

// Twice what a source may have once it speaks HTTP: the honest ones behind one
// NAT are told there what is wrong.
const (
	gateRate  = 2 * strangerRate // connections per second
	gateBurst = 2 * strangerBurst
	gateOpen  = 2 * strangerOpen

	// gateMost connections wait at most, some 30 KiB each with TLS. 10,000
	// nodes that come back after a restart of the hub, within 10 s, are far
	// fewer at a time.
	gateMost = 8192
)

func newGate(d *drops) *gate {
	g := &gate{sources: newStrangers(gateRate, gateBurst), drops: d, most: gateMost}
	g.sources.most = gateOpen
	return g
}

// guard returns a listener whose connections have passed the gate. TLS belongs
// behind it.
func (g *gate) guard(l net.Listener) net.Listener { return &gatedListener{l, g} }

type gatedListener struct {
	net.Listener
	gate *gate
}

// Accept returns the next connection that may stay.
func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return c, nil
		}
		if g := l.gate.enter(tcp); g != nil {
			return g, nil
		}
		reset(tcp)
	}
}

// gateConn is a connection that waits at the gate, or waited.
type gateConn struct {
	*net.TCPConn
	leave func() // it waits no more; may be called again
}

// Close closes the connection.
func (c *gateConn) Close() error {
	c.leave()
	return c.TCPConn.Close()
}

// enter lets a connection wait, or returns nil. When too many do the one that
// has waited longest goes: an honest node is done within a few round trips,
// one that only holds its place is not.
func (g *gate) enter(tcp *net.TCPConn) *gateConn {
	release := func() {}
	if a := addrPort(tcp.RemoteAddr()).Addr(); !a.IsLoopback() || g.limitLoopback {
		var ok bool
		if release, ok = g.sources.enter(a); !ok {
			g.drops.sockets.Add(1)
			return nil
		}
	}
	c := &gateConn{TCPConn: tcp}
	g.mu.Lock()
	place := g.waiting.PushBack(c)
	c.leave = sync.OnceFunc(func() {
		g.mu.Lock()
		g.waiting.Remove(place)
		g.mu.Unlock()
		release()
	})
	var oldest *gateConn
	if g.waiting.Len() > g.most {
		oldest = g.waiting.Remove(g.waiting.Front()).(*gateConn)
	}
	g.mu.Unlock()
	if oldest != nil {
		g.drops.crowded.Add(1)
		oldest.leave()
		reset(oldest.TCPConn) // whoever reads from it notices
	}
	return c
}

// reset closes a connection and leaves nothing of it in the kernel.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// proven tells the gate that the connection is no stranger's any more.
func proven(c net.Conn) {
	for above, ok := c.(interface{ NetConn() net.Conn }); ok; above, ok = c.(interface{ NetConn() net.Conn }) {
		c = above.NetConn()
	}
	if g, ok := c.(*gateConn); ok {
		g.leave()
	}
}
