package peer

import (
	"maps"
	"net"
	"net/netip"
	"time"
)

// permitEvery is the age at which a permission is renewed. It lives 5 minutes
// (RFC 8656 section 9).
const permitEvery = 2 * time.Minute

// permit is a relay's permission for one peer address, whatever the port. The
// allocation asks for it in the first write to the address; the lanes to
// other ports wait for that write. Its renewals, though, ask for all
// addresses in one request, which fails as a whole when the server refuses
// one of them, so the lanes renew what they use themselves.
type permit struct {
	ready   chan struct{} // closed when granted is known
	granted bool
	at      time.Time // asked for
}

// permit returns the permission for ip. If mine, the caller has to write to
// the address and then call settle; else it may have to wait for ready.
func (r *Relay) permit(ip netip.Addr) (p *permit, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.permits[ip]; p != nil {
		return p, false
	}
	p = &permit{ready: make(chan struct{}), at: time.Now()}
	r.permits[ip] = p
	return p, true
}

// settle says whether the permission was granted; if not it is forgotten.
func (r *Relay) settle(ip netip.Addr, p *permit, granted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.granted = granted
	close(p.ready)
	if !granted {
		delete(r.permits, ip)
	}
}

// granted waits for p, and renews it when it is time. It reports false when
// there is no permission.
func (l *lane) granted(p *permit) bool {
	select {
	case <-p.ready:
	case <-l.relay.done:
		return false
	}
	l.relay.mu.Lock()
	defer l.relay.mu.Unlock()
	if p.granted && time.Since(p.at) > permitEvery {
		p.at = time.Now() // other lanes shall not ask as well
		l.relay.work.Go(func() { l.relay.renew(l.udp, p) })
	}
	return p.granted
}

// renewTries leaves room for a nonce that has become stale (RFC 8489 section
// 9.2.5), which the first failure replaces.
const renewTries = 3

// renew asks for a permission once more, while packets go on under the old one.
// One that is refused is forgotten, so that the next packet asks anew.
func (r *Relay) renew(to net.Addr, p *permit) {
	for range renewTries {
		if r.client.CreatePermission(to) == nil {
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.granted = false
	maps.DeleteFunc(r.permits, func(_ netip.Addr, q *permit) bool { return q == p })
}
