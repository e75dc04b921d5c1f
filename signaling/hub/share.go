package hub

import (
	"maps"
	"math"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// share is what one member uses of the relay, all of its allocations together.
type share struct {
	conns   map[*relayConn]struct{} // guarded by relay.mu
	meter   *meter
	traffic traffic
}

// DefaultRelayRate is the default of Config.RelayRate, in bytes per second:
// half of what a server with 1 Gbit/s has. One member alone cannot take the
// line from all others, and a home's fastest line fits.
const DefaultRelayRate = 500_000_000 / 8

// meterBurst is for how long a member that was quiet may send as fast as the
// line is: a limit that cuts shorter peaks off slows TCP to a part of it.
const meterBurst = time.Second

// packetOverhead is what IP and UDP add to each packet, in bytes.
const packetOverhead = 28

// meter is a token bucket for bytes, as the one time up to which its bytes are
// paid for. It is safe for concurrent use, without a lock.
type meter struct {
	perByte float64 // nanoseconds
	paid    atomic.Int64
}

// meterStart makes times small and monotonic.
var meterStart = time.Now()

func newMeter(bytesPerSecond int64) *meter {
	m := &meter{perByte: float64(time.Second) / float64(bytesPerSecond)}
	m.paid.Store(math.MinInt64)
	return m
}

// take says whether a packet of n bytes may go now.
func (m *meter) take(n int) bool { return m.takeAt(int64(time.Since(meterStart)), n) }

func (m *meter) takeAt(now int64, n int) bool {
	cost := int64(m.perByte * float64(n+packetOverhead))
	for {
		paid := m.paid.Load()
		next := max(paid, now-int64(meterBurst)) + cost
		if next > now {
			return false
		}
		if m.paid.CompareAndSwap(paid, next) {
			return true
		}
	}
}

// join adds an allocation to its owner's share.
func (r *relay) join(c *relayConn, owner identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.share = r.shareLocked(owner)
	c.share.conns[c] = struct{}{}
	r.relays[addrPort(c.announced)] = c
}

// share is the owner's, which there is from its first allocation on.
func (r *relay) share(owner identity) *share {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shareLocked(owner)
}

func (r *relay) shareLocked(owner identity) *share {
	s := r.shares[owner]
	if s == nil {
		s = &share{conns: make(map[*relayConn]struct{}), meter: newMeter(r.rate)}
		r.shares[owner] = s
	}
	return s
}

// forget removes a closed allocation. Its owner's meter stays until prune, or
// a new allocation would begin with a new burst.
func (r *relay) forget(c *relayConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(c.share.conns, c)
	if ap := addrPort(c.announced); r.relays[ap] == c {
		delete(r.relays, ap)
	}
}

// prune forgets who uses the relay no more, but for how much it was.
func (r *relay) prune() {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.shares, func(_ identity, s *share) bool {
		if len(s.conns) > 0 {
			return false
		}
		r.past = r.past.plus(s.traffic.usage())
		return true
	})
}

// underQuota is pion/turn's QuotaHandler.
func (r *relay) underQuota(userID, _ string, _ net.Addr) bool {
	owner, ok := identityOf(userID)
	return ok && r.count(owner) < allocationsPerServer*len(r.public)
}

// inUse says whether the member has an allocation.
func (r *relay) inUse(owner identity) bool { return r.count(owner) > 0 }

func (r *relay) count(owner identity) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.shares[owner]; s != nil {
		return len(s.conns)
	}
	return 0
}

// end takes the relay from a member: its credentials are worth nothing from
// now on, and its allocations have ended. It may get new credentials.
func (r *relay) end(owner identity) {
	r.credentials.forget(owner) // first, see generator.AllocatePacketConn
	var conns []*relayConn
	r.mu.RLock()
	if s := r.shares[owner]; s != nil {
		conns = slices.Collect(maps.Keys(s.conns))
	}
	r.mu.RUnlock()
	for _, c := range conns {
		c.Close() // pion/turn deletes the allocation
	}
}
