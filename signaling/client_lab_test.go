package signaling

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
)

// hubLab is a client and the hub it calls, over pipes in virtual time:
//
//	Client ── net.Pipe ── http.Server ── conns ── the test, as the hub
type hubLab struct {
	t       *testing.T
	client  *Client
	key     config.HubPrivateKey
	credit  Credential
	events  chan Message
	onEvent func(Message)
	dials   chan dial
	conns   chan *websocket.Conn
	dialErr error       // of every dial, if not nil
	hang    atomic.Bool // every dial hangs
	refuse  atomic.Bool // every dial is refused
	open    []*websocket.Conn
	start   time.Time
	done    chan error
}

// dial is one attempt of the client.
type dial struct {
	addr string
	at   time.Duration // since the start
}

// inHubLab runs f in a bubble of virtual time, then ends the client. It fails
// if the client does not end at once, or leaves a goroutine.
func inHubLab(t *testing.T, urls int, prepare, f func(*hubLab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &hubLab{
			t: t, key: config.NewHubKey(), events: make(chan Message, 1000), dials: make(chan dial, 1000),
			conns: make(chan *websocket.Conn), done: make(chan error, 1), start: time.Now(),
		}
		all := []string{"ws://192.0.2.1:1", "ws://192.0.2.2:2", "ws://192.0.2.3:3"}
		self := newTestNode(t, "a", 1).self
		l.client = NewClient(ClientConfig{
			Hub: config.Hub{URLs: all[:urls], Key: l.key.Public()}, Network: testNetwork.Public(), Self: self,
			Credential: func() Credential { return l.credit },
			Handle: func(m Message) {
				if l.onEvent != nil {
					l.onEvent(m)
				}
				l.events <- m
			},
			Log: slog.New(slog.DiscardHandler),
		})
		if prepare != nil {
			prepare(l)
		}
		listener := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		l.client.netDial = func(ctx context.Context, _, addr string) (net.Conn, error) {
			l.dials <- dial{addr, time.Since(l.start)}
			if l.hang.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			if l.refuse.Load() {
				return nil, syscall.ECONNREFUSED
			}
			if l.dialErr != nil {
				return nil, l.dialErr
			}
			return listener.dial(ctx)
		}
		server := &http.Server{Handler: http.HandlerFunc(l.upgrade)}
		served := make(chan struct{})
		go func() {
			defer close(served)
			server.Serve(listener)
		}()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { l.done <- l.client.Run(ctx) }()
		f(l)
		canceled := time.Now()
		cancel()
		if err := <-l.done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v, want %v", err, context.Canceled)
		}
		if took := time.Since(canceled); took != 0 {
			t.Errorf("Run returned after %v", took)
		}
		for _, ws := range l.open {
			ws.Close()
		}
		server.Close()
		<-served
	})
}

func (l *hubLab) upgrade(w http.ResponseWriter, r *http.Request) {
	u := websocket.Upgrader{Subprotocols: []string{Subprotocol}}
	if conn, err := u.Upgrade(w, r, nil); err == nil && r.URL.Path == Path {
		l.conns <- conn
	}
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error {
	close(p.closed)
	return nil
}

func (p *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// hubConn is the hub's end of one connection.
type hubConn struct {
	*hubLab
	ws    *websocket.Conn
	hello *Hello
	shake Handshake
}

// accept takes the next connection, the handshake still to come.
func (l *hubLab) accept() *hubConn {
	l.t.Helper()
	select {
	case ws := <-l.conns:
		l.open = append(l.open, ws)
		return &hubConn{hubLab: l, ws: ws}
	case <-time.After(time.Hour):
		l.t.Fatal("nobody came in an hour")
		return nil
	}
}

// answer takes the next connection and makes the handshake.
func (l *hubLab) answer() *hubConn {
	l.t.Helper()
	c := l.accept()
	c.challenge(l.key.Public())
	c.readHello()
	c.send(&Welcome{Signature: c.shake.SignWelcome(l.key), Member: true})
	if w, ok := l.next().(*Welcome); !ok || !w.Member {
		l.t.Fatal("the client did not deliver the welcome")
	}
	return c
}

func (c *hubConn) challenge(hub config.HubKey) {
	c.t.Helper()
	nonce := make([]byte, NonceSize)
	rand.Read(nonce)
	c.shake = Handshake{HubNonce: nonce, Hub: hub}
	c.send(&Challenge{Nonce: nonce, Hub: hub})
}

func (c *hubConn) readHello() {
	c.t.Helper()
	hello, ok := c.read().(*Hello)
	if !ok {
		c.t.Fatal("the client sent no hello")
	}
	c.hello = hello
	c.shake.NodeNonce, c.shake.Network, c.shake.Node = hello.Nonce, hello.Network, hello.Node
}

func (c *hubConn) send(m Message) {
	c.t.Helper()
	frame, err := Encode(m)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := writeFrame(c.ws, frame); err != nil {
		c.t.Fatalf("hub sends %T: %v", m, err)
	}
}

func (c *hubConn) read() Message {
	c.t.Helper()
	m, err := read(c.ws)
	if err != nil {
		c.t.Fatalf("hub reads: %v", err)
	}
	return m
}

// serve answers pings until the connection ends.
func (c *hubConn) serve() {
	go func() {
		for {
			if _, err := read(c.ws); err != nil {
				c.ws.Close()
				return
			}
		}
	}()
}

// next is what the client delivers next.
func (l *hubLab) next() Message {
	l.t.Helper()
	select {
	case m := <-l.events:
		return m
	case <-time.After(time.Hour):
		l.t.Fatal("the client delivered nothing in an hour")
		return nil
	}
}

// down is the error of the next event, which must be a Down.
func (l *hubLab) down() error {
	l.t.Helper()
	m := l.next()
	d, ok := m.(*Down)
	if !ok {
		l.t.Fatalf("the client delivered %T, want a Down", m)
	}
	return d.Err
}
