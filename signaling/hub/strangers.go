package hub

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// strangers limits what one source may ask for before it has proved who it
// is. It is safe for concurrent use.
type strangers struct {
	rate  rate.Limit
	burst int
	most  int           // connections of one source at a time
	all   *rate.Limiter // of allow, all sources together; nil: none

	mu      sync.Mutex // guards sources
	sources map[netip.Prefix]*sourceUse
}

type sourceUse struct {
	limit *rate.Limiter
	open  int // connections without a valid hello
	seen  time.Time
}

// A source is one IPv4 address or one IPv6 /64. Many nodes may stand behind
// one NAT and come back at once when the hub restarts.
const (
	strangerRate  = 20 // connections or STUN replies per second
	strangerBurst = 120
	strangerOpen  = 64

	// STUN replies to all sources together, some 4 Mbit/s: who forges all the
	// addresses of a provider shall not get a flood of replies to it.
	strangersRate  = 5_000 // per second
	strangersBurst = 10_000

	// STUN replies to where members come from: hundreds may stand behind one
	// NAT, and nobody who spoofs their address shall use up their share.
	knownRate  = 2000 // per second
	knownBurst = 4000

	strangerForget = 2 * time.Minute
	maxSources     = 100_000
)

func newStrangers(r rate.Limit, burst int) *strangers {
	return &strangers{rate: r, burst: burst, most: strangerOpen, sources: make(map[netip.Prefix]*sourceUse)}
}

func sourceOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: all such are one source
	}
	return p
}

func (s *strangers) useLocked(a netip.Addr, now time.Time) *sourceUse {
	p := sourceOf(a)
	u := s.sources[p]
	if u == nil {
		if len(s.sources) >= maxSources {
			p = netip.Prefix{} // a flood of sources: the new ones share a limit
			u = s.sources[p]
		}
	}
	if u == nil {
		u = &sourceUse{limit: rate.NewLimiter(s.rate, s.burst)}
		s.sources[p] = u
	}
	u.seen = now
	return u
}

// allow counts one request of the source and says whether to answer it.
func (s *strangers) allow(a netip.Addr) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.useLocked(a, now).limit.AllowN(now, 1) && (s.all == nil || s.all.AllowN(now, 1))
}

// enter counts a connection until release, which may be called again.
func (s *strangers) enter(a netip.Addr) (release func(), ok bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.useLocked(a, now)
	if u.open >= s.most || !u.limit.AllowN(now, 1) {
		return nil, false
	}
	u.open++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		u.open--
	}), true
}

// prune forgets the sources that were quiet. It walks them all, so it is for a
// timer: a flood must not be able to ask for it.
func (s *strangers) prune(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, u := range s.sources {
		if u.open == 0 && now.Sub(u.seen) > strangerForget {
			delete(s.sources, p)
		}
	}
}
