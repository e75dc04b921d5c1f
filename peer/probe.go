package peer

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// probeEvery keeps the NAT's mapping alive: RFC 4787 asks NATs for 2
	// minutes, home routers are seen with 30 s.
	probeEvery = 20 * time.Second

	// probeAgain is the pause after a transaction without an answer, and
	// probeHurry that and the longest between two requests while a relay of the
	// server's is in use.
	probeAgain = 2 * time.Second
	probeHurry = 500 * time.Millisecond

	// suspectAt is the try that, when it has to be made, makes the server a
	// suspect: 750 ms have passed without an answer.
	suspectAt = 2

	// maxLostProbes are taken for lost by the way at most, where packets get lost.
	maxLostProbes = 3

	// doubtTrips is after how many round trips without an answer paths do not
	// lead over the server's relays, if others are valid.
	doubtTrips = 2
)

// reflexive is what a STUN server told of this node (RFC 8445 section 5.1.1.2).
type reflexive struct {
	mapped netip.AddrPort // our address as the server sees it
	base   netip.Addr     // the local address it answered to; zero: not known
}

// probe is the Binding transactions with one server: who keeps it sends the
// requests, and handle takes the responses from the receive goroutine.
type probe struct {
	wake   chan struct{}  // ask again now
	answer chan reflexive // holds the newest

	mu      sync.Mutex // guards all below
	pending []probeTry // of the present transaction
	way     measure
	test    *joinedTest // nil: none runs
}

// probeTry is one request. Each has a transaction of its own, so that the answer
// tells which it answers, and so how long it took.
type probeTry struct {
	id transactionID
	at time.Time
}

func newProbe() *probe {
	return &probe{wake: make(chan struct{}, 1), answer: make(chan reflexive, 1)}
}

// request makes the request of a try, from 0 on.
func (p *probe) request(try int) *stun.Message {
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = append(p.pending[:try], probeTry{m.TransactionID, time.Now()})
	return m
}

// handle takes a Binding response; one to anything but the transaction that
// runs is dropped. It does not keep b.
func (p *probe) handle(local netip.Addr, b []byte) {
	p.mu.Lock()
	if p.noteLocked(stunTransaction(b)) {
		p.mu.Unlock()
		return
	}
	try := slices.IndexFunc(p.pending, func(t probeTry) bool { return t.id == stunTransaction(b) })
	var at time.Time
	if try >= 0 {
		at = p.pending[try].at
	}
	p.mu.Unlock()
	if try < 0 || stunType(b) != bindingSuccess {
		return
	}
	m := stun.Message{Raw: append([]byte(nil), b...)}
	if m.Decode() != nil {
		return
	}
	mapped, err := addressOf(&m, stun.AttrXORMappedAddress)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.pending = p.pending[:0]
	p.way.answered(time.Since(at), try)
	p.mu.Unlock()
	select {
	case p.answer <- reflexive{mapped, local}:
	default:
	}
}

// measured is what the probes have shown of the way to the server.
func (p *probe) measured() measure {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.way
}

func (p *probe) silent() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.way.silent = true
}

// keepReflexive asks the server for our reflexive address, again and again,
// until ctx ends.
func (s *server) keepReflexive(ctx context.Context) {
	defer s.underlay.setSilent(s, false)
	var last reflexive
	silent := false
	for {
		r, ok := s.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		if ok {
			s.answers.Add(1)
			s.underlay.setReflexive(s, r)
			// The server knows the allocation by our address, and after a
			// silence it may be another run of it.
			moved := last.mapped.IsValid() && last.mapped != r.mapped
			if silent || moved {
				if c := s.client.Load(); c != nil {
					c.hurry()
				}
				signal(s.verify)
				signal(s.again)
			}
			if moved && last.base == r.base {
				s.underlay.remapped()
			}
			last = r
			s.judgeJoined(ctx, r)
		}
		silent = !ok
		s.underlay.probed(s)
		pause := probeEvery
		switch {
		case silent && s.hurries():
			pause = probeHurry
		case silent:
			pause = probeAgain
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-s.probe.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// hurries says whether somebody waits for the server.
func (s *server) hurries() bool {
	r := s.relay.Load()
	return r != nil && r.wanted(time.Now()) || r == nil && s.held.Load() && s.underlay.wanted()
}

// ask runs one Binding transaction.
func (s *server) ask(ctx context.Context) (reflexive, bool) {
	select {
	case <-s.probe.answer: // of the one before, too late
	default:
	}
	longest := probeMaxRTO
	if s.hurries() {
		longest = probeHurry
	}
	never := func() <-chan struct{} { return nil }
	began, way := time.Now(), s.probe.measured()
	tries := min(triesOf(way.loss), maxLostProbes) // that may all be lost by the way
	r, ok := retransmit(ctx, s.probe.answer, longest, never, func(try int) {
		if try >= tries && (try >= suspectAt || time.Since(began) >= doubtTrips*way.rtt) {
			s.underlay.setSilent(s, true)
		}
		if try == max(suspectAt, tries) {
			s.probe.silent()
			signal(s.underlay.reconcile)
		}
		if err := s.socket.SendTo(s.probe.request(try).Raw, zeroAddr, s.addr); err != nil {
			s.underlay.drops.unsent.Add(1)
		}
	})
	s.underlay.setSilent(s, !ok)
	signal(s.underlay.reconcile)
	return r, ok
}
