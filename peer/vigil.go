package peer

import (
	"maps"
	"sync/atomic"
	"time"
)

// How long nothing may come out of a relay into which something was sent, before
// its server is asked: some round trips to it, within bounds, as those to the peer
// take longer; then doubling, as the peer may simply be gone.
const (
	unansweredTrips   = 4
	unansweredMin     = 250 * time.Millisecond
	unansweredFor     = 500 * time.Millisecond
	unansweredMaxWait = 16 * time.Second
)

// vigil watches for the loss of a relay that is in use: checks and data leave, and
// nothing comes. It costs nothing while nothing leaves.
type vigil struct {
	due  time.Time     // of the next look; zero: nothing has left
	wait time.Duration // from one look to the next
}

// look says when to look again, 0 for at the next asked, and whether the relay is
// suspect now. asked and heard are what happened since; rtt is that to the server,
// 0 for not known.
func (v *vigil) look(now time.Time, rtt time.Duration, asked, heard *atomic.Bool) (again time.Duration, suspect bool) {
	switch {
	case v.due.IsZero() && !asked.Load():
		return 0, false
	case v.due.IsZero():
		heard.Store(false)
		v.wait = unansweredFor
		if rtt > 0 {
			v.wait = min(max(unansweredTrips*rtt, unansweredMin), unansweredFor)
		}
	case now.Before(v.due):
		return v.due.Sub(now), false
	case heard.Load():
		asked.Store(false)
		v.due = time.Time{}
		return 0, false
	default:
		suspect = true
		v.wait = min(2*v.wait, unansweredMaxWait)
	}
	v.due = now.Add(v.wait)
	return v.wait, suspect
}

// setSilent notes whether a server does not answer though it should have. Paths
// over its relays, this node's or a peer's, are then those that are used last.
func (u *Underlay) setSilent(s *server, silent bool) {
	u.mu.Lock()
	old := *u.mux.silent.Load()
	changed := old[s] != silent
	if changed {
		now := make(map[*server]bool)
		maps.Copy(now, old)
		if delete(now, s); silent {
			now[s] = true
		}
		u.mux.silent.Store(&now)
	}
	u.mu.Unlock()
	if changed {
		u.notify()
	}
}

// silent says whether the pair leads over a relay whose server does not answer, as
// far as this node can tell.
func (c choice) silent() bool {
	if c.direct() {
		return false
	}
	for s := range *c.key.conn.mux.silent.Load() {
		own := c.key.conn.relay
		if own != nil && own.server == s {
			return true
		}
		// What is silent over UDP may answer who comes by a stream.
		if (own == nil || own.server.stream == nil) && c.remoteType == Relayed && c.key.remote.Addr() == s.addr.Addr() {
			return true
		}
	}
	return false
}
