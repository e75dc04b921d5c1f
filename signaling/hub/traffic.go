package hub

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
)

// traffic counts datagrams that the relay has sent on, as they left: up to
// peers, down to clients. What passes between two relays of the hub is counted
// up for the one member, and down for the other. It is safe for concurrent use.
type traffic struct {
	up, down counter
}

type counter struct{ packets, bytes atomic.Uint64 }

func (c *counter) add(packets, bytes int) {
	c.packets.Add(uint64(packets))
	c.bytes.Add(uint64(bytes))
}

// usage is what traffic had counted at some time.
type usage struct {
	upPackets, upBytes, downPackets, downBytes uint64
}

func (t *traffic) usage() usage {
	return usage{t.up.packets.Load(), t.up.bytes.Load(), t.down.packets.Load(), t.down.bytes.Load()}
}

func (u usage) plus(v usage) usage {
	return usage{u.upPackets + v.upPackets, u.upBytes + v.upBytes, u.downPackets + v.downPackets, u.downBytes + v.downBytes}
}

// usage returns what all members had relayed since the hub started, and what
// each had that uses the relay now.
func (r *relay) usage() (all usage, members map[identity]usage) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all, members = r.past, make(map[identity]usage, len(r.shares))
	for owner, s := range r.shares {
		u := s.traffic.usage()
		members[owner], all = u, all.plus(u)
	}
	return all, members
}

// unread counts what one socket of the relay was too late for.
type unread struct {
	mu   sync.Mutex // guards seen
	seen uint32
}

// count adds what came since the last time.
func (u *unread) count(c *udpbatch.Conn, d *drops) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n, ok := c.Missed(); ok {
		d.unread.Add(uint64(n - u.seen))
		u.seen = n
	}
}

// countUnread looks at all sockets. It is for a timer; each that closes is
// looked at once more.
func (r *relay) countUnread() {
	for _, l := range r.listeners {
		l.unread.count(l.Conn, r.drops)
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, c := range r.relays {
		c.unread.count(c.socket, r.drops)
	}
}

// logUsage says what was relayed, at the end.
func (r *relay) logUsage(log *slog.Logger) {
	u, _ := r.usage()
	log.Info("relayed in all", "up_packets", u.upPackets, "up_bytes", u.upBytes, "down_packets", u.downPackets, "down_bytes", u.downBytes)
}
