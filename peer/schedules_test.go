package peer

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

var (
	schedulesFlag = flag.Uint64("schedules", 0, "how many random schedules of faults TestSchedules runs; 0: a few")
	seedFlag      = flag.Uint64("seed", 0, "the first of them")
)

// tale is a random schedule: two nodes somewhere, and what happens to them. It is
// the model as well: it knows whether there is a way that carries data.
type tale struct {
	*world
	rand  *rand.Rand
	k     *link
	sides [2]*flow

	places [2]place
	relays []netip.AddrPort
	delay  time.Duration // between networks, one way
	lag    time.Duration // of the signaling besides
	loss   float64
	talks  [2]bool // who sends

	// What is the matter now.
	down     [2]bool // links
	hole     [2]bool // the direct way swallows what this side sends
	mouths   atomic.Pointer[[]mouth]
	storm    float64 // loss besides
	dead     map[netip.AddrPort]bool
	away     bool           // the hub
	unseen   bool           // an address changed that only a STUN server can tell
	untold   bool           // something changed that only the hub can tell of
	undo     map[int]func() // what ends it, by the number of the mishap
	changed  time.Time      // last
	relaying time.Time      // a relay has to be found, or allocated, again since
}

// place is where a side is.
type place struct {
	symmetric, open bool
	router          *router
	prefix          string // of addresses
	host            int
}

// mishap is what may happen to a side; many do to either. It returns what ends it,
// or nil where it is over at once.
type mishap struct {
	name string
	do   func(s *tale, i int) (end func())
}

var mishaps = []mishap{
	{"conntrack flushed", func(s *tale, i int) func() {
		s.flush(s.places[i].router)
		return s.remapped()
	}},
	{"NAT readdressed", func(s *tale, i int) func() {
		s.readdress(s.places[i].router)
		return s.remapped()
	}},
	{"renumbered", func(s *tale, i int) func() {
		p := &s.places[i]
		p.host += 10
		s.renumber(s.sides[i].node, fmt.Sprint(p.prefix, p.host))
		return s.remapped()
	}},
	{"route moved", func(s *tale, i int) func() {
		p := &s.places[i]
		p.router, _ = s.network(p.symmetric, p.open)
		s.move(s.sides[i].node, p.router)
		if s.rand.IntN(2) == 0 {
			s.sides[i].underlay.Changed("the default route has moved")
		}
		return s.remapped()
	}},
	{"daemon killed", func(s *tale, i int) func() {
		s.reborn(i, time.Duration(s.rand.IntN(2000))*time.Millisecond)
		s.untold = s.untold || s.away
		return nil
	}},
	{"link down", func(s *tale, i int) func() {
		s.down[i] = true
		s.cut(true, s.sides[i].node)
		return func() {
			s.down[i] = false
			s.cut(false, s.sides[i].node)
		}
	}},
	{"data swallowed", func(s *tale, i int) func() {
		s.hole[i] = true
		return func() { s.hole[i] = false }
	}},
	{"data swallowed both ways", func(s *tale, i int) func() {
		s.hole = [2]bool{true, true}
		return func() { s.hole = [2]bool{} }
	}},
	{"storm", func(s *tale, _ int) func() {
		s.blow(0.3)
		return func() { s.blow(0) }
	}},
	{"hub away", func(s *tale, _ int) func() {
		s.hub(false)
		return func() { s.hub(true) }
	}},
	{"relay killed", func(s *tale, _ int) func() {
		at := s.relays[s.rand.IntN(len(s.relays))]
		if s.dead[at] {
			return nil
		}
		s.dead[at] = true
		s.kill(at)
		s.relaying = time.Now()
		return func() {
			delete(s.dead, at)
			s.raise(at)
			s.unseen = false
			s.relaying = time.Now()
			s.untold = s.untold || s.away
		}
	}},
}

// remapped notes that an address of a side is another.
func (s *tale) remapped() func() {
	s.untold = s.untold || s.away
	s.unseen = s.unseen || len(s.dead) == len(s.relays)
	s.relaying = time.Now()
	return nil
}

func (s *tale) blow(loss float64) {
	s.storm = loss
	s.change(func(w *weather) { w.loss = max(s.loss, loss) })
}

// hub takes the hub's signaling away, or brings it back.
func (s *tale) hub(up bool) {
	s.away = !up
	s.untold = s.untold && !up
	s.k.cut.Store(!up)
	s.k.a.SetOnline(up, s.k.b.self.Epoch)
	s.k.b.SetOnline(up, s.k.a.self.Epoch)
}

// reborn kills the daemon of a side and starts it anew after a while.
func (s *tale) reborn(i int, down time.Duration) {
	f, other := s.sides[i], s.sides[1-i]
	cut := s.k.cut.Swap(true)
	f.stop()
	time.Sleep(down + time.Second)
	s.k.cut.Store(cut)
	f.forget()
	s.k.restart(f.side, other.side, func(c *Config) { c.Tunnel = f })
	if !s.away {
		s.hub(true)
	}
}

// begin makes a tale's network and its nodes.
func (s *tale) begin() {
	r := s.rand
	s.dead, s.undo = make(map[netip.AddrPort]bool), make(map[int]func())
	s.delay = time.Duration(1+r.IntN(75)) * time.Millisecond
	if r.IntN(3) == 0 {
		s.loss = 0.3 * r.Float64()
	}
	s.relays = []netip.AddrPort{relay1}
	far := map[netip.Addr]time.Duration{relay1.Addr(): time.Duration(r.IntN(40)) * time.Millisecond}
	if r.IntN(2) == 0 {
		s.relays = append(s.relays, relay2)
		far[relay2.Addr()] = time.Duration(r.IntN(40)) * time.Millisecond
		s.raise(relay2)
	}
	s.change(func(w *weather) {
		w.delay, w.loss, w.far, w.drop = s.delay, s.loss, far, s.swallows
		if r.IntN(4) == 0 {
			w.jitter = s.delay / 2
		}
	})
	for i := range s.places {
		p := &s.places[i]
		p.symmetric, p.host = r.IntN(3) == 0, i+1
		p.open = !p.symmetric && r.IntN(4) == 0
		if i == 1 && r.IntN(5) == 0 {
			p.router, p.prefix = s.places[0].router, s.places[0].prefix
			p.symmetric, p.open = p.router.symmetric, p.router.open
			continue
		}
		p.router, p.prefix = s.network(p.symmetric, p.open)
	}
	s.talks = [][2]bool{{true, true}, {true, true}, {true, false}, {false, true}}[r.IntN(4)]
	var nodes [2]*node
	for i, p := range s.places {
		nodes[i] = s.machine(p.router, fmt.Sprint(p.prefix, p.host), s.relays...)
	}
	s.lag = s.delay + time.Duration(r.IntN(50))*time.Millisecond
	s.k, s.sides[0], s.sides[1] = s.flows(nodes[0], nodes[1])
	s.k.filter(func(*side) (bool, time.Duration) { return true, s.lag })
	for i, f := range s.sides {
		if s.talks[i] {
			s.talk(f)
		}
	}
	s.changed, s.relaying = time.Now(), time.Now()
}

// mouth is where data of a side comes from that is swallowed.
type mouth struct {
	router netip.Addr
	host   netip.AddrPort
}

// swallows says whether a packet is data that is lost on the direct way.
func (s *tale) swallows(from, to netip.AddrPort, b []byte) bool {
	mouths := s.mouths.Load()
	return mouths != nil && straight(from, to, b) && slices.ContainsFunc(*mouths, func(m mouth) bool {
		return from.Addr() == m.router || from == m.host
	})
}

// gape has packets swallowed as things are now.
func (s *tale) gape() {
	var mouths []mouth
	for i, p := range s.places {
		if s.hole[i] {
			mouths = append(mouths, mouth{p.router.addr, s.sides[i].node.pc.(*plug).addr})
		}
	}
	s.mouths.Store(&mouths)
}

// straight says whether the sides can reach each other without a relay.
func (s *tale) straight() bool {
	p, q := s.places[0], s.places[1]
	return p.router == q.router || p.open || q.open || !p.symmetric && !q.symmetric
}

// way says whether there is a way for data from a side to the other, and whether it
// needs a relay.
func (s *tale) way(i int) (is, relayed bool) {
	switch {
	case s.down[0] || s.down[1] || s.untold || s.unseen:
		return false, false
	case s.straight() && !s.hole[i]:
		return true, false
	}
	return len(s.dead) < len(s.relays), true
}

// bound is how long after the last change data flows again, where there is a way.
//
// Without a relay: patience is two times 1.5 round trips, 300 ms at least, until a
// path is suspect, and a receipt may have to tell, which comes each 400 ms at first.
// Then an offer and an answer go over the hub, and a check there and back: that is
// 1 s and some round trips. Over a relay each round trip is twice as long; and where
// its allocation is lost, or the relay new, the node has to notice that it is.
// Each of these may be lost several times.
func (s *tale) bound(relayed bool) time.Duration {
	rtt := 2 * s.delay
	d := 1200*time.Millisecond + 4*(s.lag+s.k.delay)
	if relayed {
		rtt = 2 * (2*s.delay + 40*time.Millisecond)
	}
	d += 6 * rtt
	return d + time.Duration(max(s.loss, s.storm)*float64(10*time.Second))
}

// relayBound is how long it takes until a relay carries data that has to be found, or
// allocated, again.
const relayBound = 15 * time.Second

// due is when data has to flow from a side to the other; zero: it does not have to.
func (s *tale) due(i int) time.Time {
	is, relayed := s.way(i)
	if !is || !s.talks[i] {
		return time.Time{}
	}
	at := s.changed.Add(s.bound(relayed))
	if relayed {
		at = later(at, s.relaying.Add(relayBound))
	}
	return at
}

// watch waits, and looks whether data flows where it has to.
func (s *tale) watch(d time.Duration) {
	end := time.Now().Add(d)
	for i, f := range s.sides {
		at := s.due(1 - i)
		if at.IsZero() || at.After(end) {
			continue
		}
		s.after(time.Until(at), func() { f.reset() })
	}
	time.Sleep(d)
	w := s.weather
	limit := 300*time.Millisecond + w.jitter + time.Duration(w.loss*float64(3*time.Second))
	for i, f := range s.sides {
		at := s.due(1 - i)
		if at.IsZero() || end.Sub(at) < limit {
			continue
		}
		if gap := f.reset(); max(gap.small, gap.bulk) > limit {
			s.t.Errorf("%v: silence of small %v, bulk %v towards side %d, %v after the last change; %s",
				s.now(), gap.small, gap.bulk, i, end.Sub(s.changed), s.sides[1-i].Snapshot().Path)
		}
	}
}

func (s *tale) now() time.Duration { return time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) }

// step has something happen, or end.
func (s *tale) step() {
	n, i := s.rand.IntN(len(mishaps)), s.rand.IntN(2)
	if end := s.undo[n]; end != nil {
		s.t.Logf("%v: %s ends", s.now(), mishaps[n].name)
		end()
		delete(s.undo, n)
	} else if len(s.undo) < 2 {
		s.t.Logf("%v: %s, side %d", s.now(), mishaps[n].name, i)
		if end := mishaps[n].do(s, i); end != nil {
			s.undo[n] = end
		}
	}
	s.gape()
	s.changed = time.Now()
}

// heal ends all that is the matter.
func (s *tale) heal() {
	for n := range mishaps {
		if end := s.undo[n]; end != nil {
			s.t.Logf("%v: %s ends", s.now(), mishaps[n].name)
			end()
			delete(s.undo, n)
		}
	}
	s.gape()
	s.changed = time.Now()
}

// calm is what must not happen while nothing does.
func (s *tale) calm() {
	const long = 30 * time.Second
	var moves, sent [2]int
	for i, f := range s.sides {
		moves[i], sent[i] = len(f.history()), int(f.sent.Load())
	}
	s.watch(long)
	best := PathRelayed
	if s.straight() {
		best = PathDirect
	}
	for i, f := range s.sides {
		moves[i], sent[i] = len(f.history())-moves[i], int(f.sent.Load())-sent[i]
		s.t.Logf("calm: side %d has %s of %s, moved %d times, sent %d messages", i, f.Snapshot().Path, best, moves[i], sent[i])
		may := 6 // some that turn out to be as good
		if s.loss == 0 && s.weather.jitter == 0 {
			may = 0
		}
		if best == PathRelayed || sent[0]+sent[1] > 0 {
			may += 2 // a session is made to find a direct path, and settles on a pair later
		}
		if s.loss > 0 {
			may += int(40 * s.loss)
		}
		if moves[i] > may {
			s.t.Errorf("side %d: %d moves in %v of calm", i, moves[i], long)
		}
		if sent[i] > 24 {
			s.t.Errorf("side %d: %d messages in %v of calm", i, sent[i], long)
		}
		if s.loss == 0 && f.Snapshot().Path != best {
			s.t.Errorf("side %d: path is %s, want %s", i, f.Snapshot().Path, best)
		}
		s.sizes(f)
	}
}

// sizes looks at what must not grow.
func (s *tale) sizes(f *flow) {
	m := f.underlay.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sessions) > 2 || len(m.order) > 2 || len(m.requests) > 2*maxSent {
		s.t.Errorf("%d sessions, %d orders, %d requests in the mux", len(m.sessions), len(m.order), len(m.requests))
	}
}

// Whatever happens, data flows in time where there is a way for it; and nothing moves
// that need not.
func TestSchedules(t *testing.T) {
	count := *schedulesFlag
	switch {
	case count > 0:
	case underRace:
		count = 2
	default:
		count = 8
	}
	for seed := *seedFlag; seed < *seedFlag+count; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, seed, func(w *world) {
				s := &tale{world: w, rand: rand.New(rand.NewPCG(seed, 6))}
				s.begin()
				t.Logf("%v and %v, LAN %v, %d relays, %v, loss %.2f, jitter %v, talks %v", s.places[0], s.places[1],
					s.places[0].router == s.places[1].router, len(s.relays), s.delay, s.loss, w.weather.jitter, s.talks)
				s.watch(5 * time.Second)
				for range 2 + s.rand.IntN(4) {
					s.step()
					s.watch(time.Duration(s.rand.IntN(9000)) * time.Millisecond)
				}
				s.heal()
				s.watch(relayBound + 10*time.Second)
				s.calm()
			})
		})
	}
}

func (p place) String() string {
	switch {
	case p.symmetric:
		return "symmetric"
	case p.open:
		return "open"
	}
	return "port"
}
