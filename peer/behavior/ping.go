package behavior

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/internal/framed"
)

// Ping asks STUN and TURN servers for nothing but an answer, all at once, and returns
// the round trips to those that gave one. A server that refuses has answered.
func Ping(ctx context.Context, cfg Config, servers []netip.AddrPort) map[netip.AddrPort]time.Duration {
	cfg.setDefaults()
	r := newRoom()
	defer r.close()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex // guards rtts
		rtts = make(map[netip.AddrPort]time.Duration)
	)
	sockets := make(map[bool]*client) // by family
	for _, to := range servers {
		c := sockets[to.Addr().Is4()]
		if c == nil {
			s, err := cfg.Open(to.Addr().Is4())
			if err != nil {
				continue // there is no such family here
			}
			c = r.add(s)
			sockets[to.Addr().Is4()] = c
		}
		all.Go(func() {
			if a, ok := c.ask(question{to: to}).answer(ctx); ok {
				mu.Lock()
				defer mu.Unlock()
				rtts[to] = a.rtt
			}
		})
	}
	all.Wait()
	return rtts
}

// PingStream asks a STUN or TURN server that is reached by a stream (RFC 8489 section
// 6.2.2) for an answer, and returns the round trip. It does not close the stream.
func PingStream(ctx context.Context, conn net.Conn) (time.Duration, error) {
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	id, request := question{}.request()
	began := time.Now()
	if _, err := conn.Write(request); err != nil {
		return 0, err
	}
	for r := framed.NewReader(conn); ; {
		b, err := r.Next()
		if err != nil {
			return 0, err
		}
		if m, err := decode(b); err == nil && m.id == id {
			return time.Since(began), nil
		}
	}
}
