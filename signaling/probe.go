package signaling

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"
)

const (
	// A probe is answered within so many round trips, and this long at least,
	// or another connection is made beside the one that may be dead.
	probeWait  = time.Second
	probeTrips = 4

	// probeEvery is the least pause between two probes.
	probeEvery = time.Second
)

// Probe says that the connection may be dead: the network is another, or
// something else that should have come did not. The hub has a moment to answer a
// ping; then a new connection is made, and takes the old one's place when the hub
// has welcomed it. While there is none, a pause before the next attempt ends, once
// in probeEvery. Probe may be called at any rate; it is safe for concurrent use and
// does not block.
func (c *Client) Probe() {
	if c.link.Load() != nil {
		signal(c.suspect)
		return
	}
	now, last := time.Now().UnixNano(), c.probed.Load()
	if now-last >= int64(probeEvery) && c.probed.CompareAndSwap(last, now) {
		signal(c.kick)
	}
}

// Renew is Probe for who knows that the connection is lost: what the hub may still
// answer is not waited for.
func (c *Client) Renew() {
	c.lost.Store(true)
	c.Probe()
}

// renew makes another connection when a probe of l has no answer, until l has
// ended or ctx. It closes l when the new one is there.
func (c *Client) renew(ctx context.Context, l *link, ended <-chan struct{}, renewed chan<- *link) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ended:
			return
		case <-c.suspect:
		}
		began := time.Now()
		for c.lost.Swap(false) || !c.answers(ctx, l, ended) {
			l.leaving.Store(true)
			if next, err := c.reach(ctx); err == nil {
				renewed <- next
				l.conn.Close() // the reader notices
				return
			}
			if !rest(ctx, ended, backoffMin/2+rand.N(backoffMin)) {
				return
			}
		}
		l.leaving.Store(false)
		if !rest(ctx, ended, probeEvery-time.Since(began)) {
			return
		}
	}
}

// answers pings, and says whether the hub was heard then, or there is nobody
// left to ask for.
func (c *Client) answers(ctx context.Context, l *link, ended <-chan struct{}) bool {
	select {
	case <-l.heard: // before
	default:
	}
	within := max(probeWait, probeTrips*l.rtt)
	if err := l.ping(within); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return false // nobody takes what is sent
		}
		l.conn.Close() // the reader notices
		return true
	}
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-ended:
	case <-l.heard:
	case <-t.C:
		return false
	}
	return true
}

// rest waits for d, and says whether to go on.
func rest(ctx context.Context, ended <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-ended:
		return false
	case <-t.C:
		return true
	}
}
