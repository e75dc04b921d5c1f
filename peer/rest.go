package peer

import (
	"net/netip"
	"slices"
	"time"
)

// restFor is how long a peer at rest may be silent: WireGuard's keepalives come
// every 20 s, and one may be lost.
const restFor = 45 * time.Second

// resting is what is kept of a session whose checks have ended.
type resting struct {
	since              time.Time
	ufrag, remoteUfrag string
	hosts              []netip.Addr
}

// rest ends the checks of a session that stands.
func (l *loop) rest(now time.Time) {
	if l.current == nil || l.next != nil {
		return
	}
	g := l.current
	l.resting = &resting{since: now, ufrag: g.ufrag, remoteUfrag: g.remoteUfrag, hosts: g.underlay.localHosts()}
	g.close()
	l.current = nil
	l.upgrade = upgrade{}
}

// until is when the peer counts as out of reach, if nothing is heard of it.
func (r *resting) until(l *loop) time.Time {
	return later(r.since, l.p.cfg.Alive()).Add(restFor)
}

// stale says whether the path may have ended with an address or a relay of ours.
func (r *resting) stale(l *loop) bool {
	relay := l.path.key.conn.relay
	return relay != nil && relay.lost() || !slices.Equal(r.hosts, l.p.cfg.Underlay.localHosts())
}

// localHosts is the node's own addresses.
func (u *Underlay) localHosts() []netip.Addr {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.hosts
}
