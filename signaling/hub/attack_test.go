package hub

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/signaling"
)

// attackOn names, in the environment of a child of the test, the hub that it
// attacks: a process of its own has its own descriptors.
const attackOn = "P2PTUN_TEST_ATTACK"

// attack is what strangers do to a hub, until its parent has enough.
//
//	half-open   10,000 sockets from as many addresses that say nothing, and as
//	            many as 1,000 from one; what is closed is opened again
//	slowloris   500 requests whose headers trickle
//	garbage     WebSockets that answer the challenge with garbage
//	oversized   WebSockets that answer with a frame of 1 MiB
type attack struct {
	scheme, addr string

	open                         atomic.Int64 // half-open now
	most                         int64        // of them; owned by run
	refused, slow, garbage, huge atomic.Int64
}

func (a *attack) run(until io.Reader) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	each := func(workers int, pause time.Duration, f func(ctx context.Context)) {
		for range workers {
			wg.Go(func() {
				for ctx.Err() == nil {
					f(ctx)
					select {
					case <-ctx.Done():
					case <-time.After(pause/2 + rand.N(pause)):
					}
				}
			})
		}
	}
	each(10_000, 500*time.Millisecond, func(ctx context.Context) { a.halfOpen(ctx, anySource()) })
	each(1000, 2*time.Second, func(ctx context.Context) { a.halfOpen(ctx, "127.100.0.1") })
	each(500, 500*time.Millisecond, a.slowloris)
	each(20, 50*time.Millisecond, func(ctx context.Context) {
		a.frame(ctx, []byte(`{"type":"hello","network":`+fmt.Sprint(rand.Int())), &a.garbage)
	})
	each(10, 50*time.Millisecond, func(ctx context.Context) { a.frame(ctx, make([]byte, 1<<20), &a.huge) })
	go func() {
		for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			a.most = max(a.most, a.open.Load())
		}
	}()
	io.Copy(io.Discard, until)
	cancel()
	wg.Wait()
	fmt.Printf("%d half-open at a time, %d refused, %d slow requests, %d garbage and %d oversized frames\n",
		a.most, a.refused.Load(), a.slow.Load(), a.garbage.Load(), a.huge.Load())
}

// anySource is one of many addresses of this machine.
func anySource() string {
	return net.IPv4(127, byte(1+rand.N(90)), byte(rand.N(256)), byte(1+rand.N(250))).String()
}

func (a *attack) dial(ctx context.Context, from string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	return d.DialContext(ctx, "tcp", a.addr)
}

// halfOpen holds a socket for as long as the hub lets it.
func (a *attack) halfOpen(ctx context.Context, from string) {
	c, err := a.dial(ctx, from)
	if err != nil {
		a.refused.Add(1)
		return
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	a.open.Add(1)
	defer a.open.Add(-1)
	c.Read(make([]byte, 1))
}

func (a *attack) slowloris(ctx context.Context) {
	c, err := a.dial(ctx, anySource())
	if err != nil {
		return
	}
	defer c.Close()
	a.slow.Add(1)
	text := "GET " + signaling.Path + " HTTP/1.1\r\nHost: hub\r\nX-Slow: "
	for i := 0; ctx.Err() == nil; i++ {
		b := "x"
		if i < len(text) {
			b = text[i : i+1]
		}
		if _, err := io.WriteString(c, b); err != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// frame sends a first frame that is no hello.
func (a *attack) frame(ctx context.Context, b []byte, count *atomic.Int64) {
	from := anySource()
	d := websocket.Dialer{
		Subprotocols: []string{signaling.Subprotocol}, HandshakeTimeout: 5 * time.Second,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		NetDialContext:  func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx, from) },
	}
	ws, _, err := d.DialContext(ctx, a.scheme+"://"+a.addr+signaling.Path, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	defer context.AfterFunc(ctx, func() { ws.Close() })()
	count.Add(1)
	if ws.WriteMessage(websocket.TextMessage, b) != nil {
		return
	}
	for {
		if _, _, err := ws.NextReader(); err != nil {
			return
		}
	}
}
