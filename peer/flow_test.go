package peer

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// flow is the tunnel of one side, as the loop sees it: packets leave by the path and
// by those that small ones are spread to, and come from the sources that checks have
// shown. What arrives of an authentic one counts, copies do not.
type flow struct {
	*side

	mu      sync.Mutex // guards all below
	waiting time.Time
	came    time.Time // the last packet
	heard   map[source]time.Time
	spread  []Path
	small   gap
	bulk    gap
}

// silence is how long nothing of a kind has come, at the longest.
type silence struct{ small, bulk time.Duration }

// gap is the longest time without packets of a kind, since reset.
type gap struct {
	last    time.Time
	longest time.Duration
}

func (g *gap) hears(now time.Time) {
	g.longest = max(g.longest, now.Sub(g.last))
	g.last = now
}

func (g *gap) reset(now time.Time) time.Duration {
	g.hears(now)
	longest := g.longest
	g.longest = 0
	return longest
}

var _ Tunnel = (*flow)(nil)

func (f *flow) Waiting() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting
}

func (f *flow) Last() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.came
}

func (f *flow) Answered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = time.Time{}
}

func (f *flow) Heard(r *Relay, from netip.AddrPort) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heard[source{r, from}]
}

func (f *flow) Probe() { f.send("probe") }

func (f *flow) Spread(to []Path) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spread = slices.Clone(to)
}

// send sends a packet through the tunnel: a small one, unless it is bulk.
func (f *flow) send(payload string) {
	f.mu.Lock()
	if f.waiting.IsZero() && payload != "probe" {
		f.waiting = time.Now()
	}
	var paths []Path
	if payload != "bulk" {
		paths = slices.Clone(f.spread)
	}
	f.mu.Unlock()
	f.run.Load().Sending()
	if p, ok := f.path(); ok {
		paths = append(paths, p)
	}
	b := append(slices.Clone(dataHeader), payload...)
	for _, p := range paths {
		if p.Relay != nil {
			_ = p.Relay.Send(b, p.Remote)
			continue
		}
		_ = f.SendTo(b, p.Local, p.Remote)
	}
}

// receive takes a packet of the tunnel, if it is from one of the peer's sources.
func (f *flow) receive(r *Relay, from netip.AddrPort, payload string) {
	f.node.mu.Lock()
	known := f.seen[source{r, canonical(from)}]
	f.node.mu.Unlock()
	if !known {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.heard[source{r, canonical(from)}] = now
	f.waiting = time.Time{}
	if now.Sub(f.came) > 500*time.Millisecond {
		f.run.Load().Receiving()
	}
	f.came = now
	switch payload {
	case "data":
		f.small.hears(now)
	case "bulk":
		f.bulk.hears(now)
	}
}

// reset begins to measure anew, and returns the longest silences so far, the present
// ones included.
func (f *flow) reset() silence {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	return silence{f.small.reset(now), f.bulk.reset(now)}
}

// forget is what a daemon does that ends.
func (f *flow) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting, f.spread = time.Time{}, nil
	clear(f.heard)
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	clear(f.seen)
	f.side.mu.Lock()
	defer f.side.mu.Unlock()
	f.paths = nil
}

// flows makes a pair of nodes with a tunnel between them.
func (l *lab) flows(na, nb *node, opts ...pairOption) (*link, *flow, *flow) {
	l.t.Helper()
	a, b := &flow{heard: make(map[source]time.Time)}, &flow{heard: make(map[source]time.Time)}
	k := l.pair(na, nb, append(opts, func(ca, cb *Config) { ca.Tunnel, cb.Tunnel = a, b })...)
	a.side, b.side = k.a, k.b
	for _, f := range []*flow{a, b} {
		f.node.mu.Lock()
		f.node.onData = f.receive
		f.node.mu.Unlock()
	}
	k.online()
	return k, a, b
}

// talk has both sides send each 20 ms until the lab ends.
func (l *lab) talk(flows ...*flow) {
	for _, f := range flows {
		f.reset()
		go func() {
			for {
				select {
				case <-l.over:
					return
				case <-time.After(20 * time.Millisecond):
					f.send("data")
					f.send("bulk")
				}
			}
		}()
	}
}

// silences is how long each side has heard nothing at the longest since.
func silences(a, b *flow) time.Duration {
	sa, sb := a.reset(), b.reset()
	return max(sa.small, sa.bulk, sb.small, sb.bulk)
}

// A direct path that answers checks and carries no data is left for a relay, and
// taken again when it carries.
func TestDataDecides(t *testing.T) {
	type cut func(from, to, a netip.AddrPort) bool
	for name, cuts := range map[string]cut{
		"both ways":                 func(from, to, _ netip.AddrPort) bool { return direct(from, to, nil) },
		"one way":                   func(from, to, a netip.AddrPort) bool { return direct(from, to, nil) && from == a },
		"other way":                 func(from, to, a netip.AddrPort) bool { return direct(from, to, nil) && to == a },
		"all but through its relay": func(from, to, a netip.AddrPort) bool { return from == a || to == a },
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				k, a, b := l.flows(port(l), port(l))
				l.talk(a, b)
				k.connected(l, PathDirect, time.Second)
				time.Sleep(5 * time.Second)
				silences(a, b)
				wan := k.a.underlay.reflexiveOf(hubAddr)
				l.lose(func(from, to netip.AddrPort, p []byte) bool {
					return isData(p) && cuts(from, to, wan)
				})
				time.Sleep(20 * time.Second)
				s := silences(a, b)
				t.Logf("silence %v; now %v and %v", s, a.Snapshot().Path, b.Snapshot().Path)
				if s > time.Second {
					t.Errorf("%v of silence when the direct path lost data", s)
				}
				l.lose(nil)
				k.connected(l, PathDirect, 3*time.Second)
				if s := silences(a, b); s > 100*time.Millisecond {
					t.Errorf("%v of silence on the way back", s)
				}
			})
		})
	}
}

// reflexiveOf is the node's address as a server sees it.
func (u *Underlay) reflexiveOf(server netip.AddrPort) netip.AddrPort {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.found[(*u.servers.Load())[server]].reflexive.mapped
}
