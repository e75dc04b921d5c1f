package peer

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"
)

const (
	// maxHeld is how many relays are held of each address family of servers, where
	// more are known: one that works and one that is ready. The families do not
	// stand in for each other: peers of the one cannot be reached through the
	// other, see relays4.
	maxHeld = 2

	// A relay gives way to one that is better by a fifth and 5 ms, for three
	// probes or more.
	aheadBy  = 5 * time.Millisecond
	aheadFor = 3 * probeEvery

	// forgetAfter is when a server that refused, and was given up for another,
	// may be asked again.
	forgetAfter = 10 * time.Minute
)

// measure is what probes have shown of the way to a server. It is pure.
type measure struct {
	rtt    time.Duration // smoothed; 0: never answered
	loss   float64       // smoothed share of the requests without an answer
	silent bool          // the newest have none
}

// weight of a new sample in the averages.
const weight = 0.25

// answered takes the time that an answer took, after so many requests without.
func (m *measure) answered(rtt time.Duration, lost int) {
	m.silent = false
	rtt = max(rtt, time.Microsecond)
	if m.rtt == 0 {
		m.rtt = rtt
		return
	}
	m.rtt += time.Duration(weight * float64(rtt-m.rtt))
	m.loss += weight * (float64(lost)/float64(lost+1) - m.loss)
}

// cost orders servers: the round trip, and what waiting for lost packets adds.
func (m *measure) cost() time.Duration {
	if m.rtt == 0 {
		return time.Hour
	}
	return m.rtt + time.Duration(m.loss*float64(probeRTO))
}

// standing is how a server stands when the relays to hold are chosen.
type standing struct {
	server *server
	measure
	held      bool
	failed    bool // no allocation was to be had
	allocated bool // there is one
	busy      bool // it carries a tunnel
	open      bool // of a stream: it is to be

	age   time.Duration // how long the server has been in use
	ahead time.Time     // better than a held one since; zero: it is not
}

// ready says that the relay works, as far as is known.
func (s *standing) ready() bool { return s.held && s.allocated && !s.silent }

// hopeful says that the relay works or is about to.
func (s *standing) hopeful() bool { return s.held && !s.failed && !s.silent }

// hold chooses the relays to hold among the servers of one address family, in
// place. It is pure. New ones come before old ones go, and none goes that
// carries a tunnel.
func hold(all []*standing, now time.Time) {
	slices.SortFunc(all, func(a, b *standing) int {
		return cmp.Or(cmp.Compare(a.cost(), b.cost()), a.server.addr.Compare(b.server.addr))
	})
	if len(all) <= maxHeld {
		for _, s := range all {
			s.held = true
		}
		return
	}
	hopeful, ready := 0, 0
	var worst *standing // of those that work
	for _, s := range all {
		if s.hopeful() {
			hopeful++
		}
		if s.ready() {
			ready++
			worst = s
		}
	}
	for _, s := range all {
		if s.held || s.failed || s.silent || s.rtt == 0 {
			s.ahead = time.Time{}
			continue
		}
		if hopeful < maxHeld {
			s.held = true
			hopeful++
			continue
		}
		switch {
		case worst == nil || ready > maxHeld || s.cost()+max(aheadBy, worst.cost()/5) > worst.cost():
			s.ahead = time.Time{}
		case s.ahead.IsZero():
			s.ahead = now
		case now.Sub(s.ahead) >= aheadFor && hopeful == maxHeld:
			s.held, s.ahead = true, time.Time{}
			hopeful++
		}
	}
	if ready > maxHeld && !worst.busy {
		worst.held = false
	}
	for _, s := range all {
		if s.held && (s.failed || s.silent) && !s.busy && ready >= maxHeld {
			s.held = false
		}
	}
}

// class is what of servers does not stand in for each other: by which address family
// the relay sends, and whether it is reached by a stream.
type class struct{ ipv4, stream bool }

func (s *server) class() class {
	if s.stream != nil {
		return class{!s.ipv6, true}
	}
	return class{s.addr.Addr().Is4(), false}
}

// hold has the allocations kept that are worth it. again is when to call it anew; 0:
// when something happens.
func (u *Underlay) hold(ctx context.Context, running map[*server]*holding) (again time.Duration) {
	now := time.Now()
	classes := make(map[class][]*standing)
	var udp []*standing
	for s, h := range running {
		r, t := s.relay.Load(), s.trouble.Load()
		h.standing = standing{
			server: s, measure: s.probe.measured(), held: h.stop != nil, ahead: h.ahead,
			failed: t != nil && (h.held || now.Sub(t.at) < forgetAfter), allocated: r != nil, busy: r != nil && r.carries(now), age: now.Sub(s.since),
		}
		classes[s.class()] = append(classes[s.class()], &h.standing)
		if s.stream == nil {
			udp = append(udp, &h.standing)
		}
	}
	streaming := false
	if len(udp) < len(running) {
		streaming, again = needsStreams(udp, u.streams())
	}
	for class, all := range classes {
		if class.stream {
			holdStreams(all, streaming)
		} else {
			hold(all, now)
		}
	}
	for _, h := range running {
		if h.allocated && !h.busy && h.server.asked4.Load() != h.server.relays4() {
			h.set(ctx, false) // and one of the other family
		}
		h.set(ctx, h.held)
		h.server.setOpen(h.open)
		if !h.held && (h.rtt > 0 || h.silent) {
			u.settle(h.server) // no relay is on its way
		}
	}
	u.setStreams(streaming)
	return again
}

// holding is a server as Run's goroutine knows it.
type holding struct {
	standing
	forget context.CancelFunc // ends its probes
	stop   func()             // gives the allocation up; nil: none is held
}

// set has the server's allocation kept or not. The server takes one at a time,
// so it returns when an old one was given up, which waits for nobody.
func (h *holding) set(ctx context.Context, held bool) {
	switch {
	case held && h.stop == nil && ctx.Err() == nil:
		ctx, cancel := context.WithCancel(ctx)
		s, done := h.server, make(chan struct{})
		go func() {
			defer close(done)
			s.keepRelay(ctx)
		}()
		h.stop = func() { cancel(); <-done }
		s.held.Store(true)
	case !held && h.stop != nil:
		h.stop()
		h.stop = nil
		h.server.held.Store(false)
	}
}

// RelayState is a server in use, as it stands.
type RelayState struct {
	Server string         // its address, or its stream's URL
	Addr   netip.AddrPort // relayed address; zero: no allocation
	RTT    time.Duration  // smoothed; 0: it never answered
	Silent bool           // it does not answer now
	Held   bool           // an allocation is kept, or tried for
	Err    error          // why the newest try for one failed
}

// Relays says how the servers in use stand, by name: those over streams while these
// are of use.
func (u *Underlay) Relays() []RelayState {
	var all []RelayState
	for _, s := range u.allServers() {
		if s.stream != nil && !s.open.Load() {
			continue
		}
		way := s.probe.measured()
		state := RelayState{Server: s.String(), RTT: way.rtt, Silent: way.silent, Held: s.held.Load()}
		if r := s.relay.Load(); r != nil {
			state.Addr = r.addr
		}
		if t := s.trouble.Load(); t != nil {
			state.Err = t.err
		}
		all = append(all, state)
	}
	slices.SortFunc(all, func(a, b RelayState) int { return cmp.Compare(a.Server, b.Server) })
	return all
}
