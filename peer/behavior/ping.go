package behavior

import (
	"context"
	"net/netip"
	"sync"
	"time"
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
