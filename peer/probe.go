package peer

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// probeEvery keeps the NAT's mapping alive: RFC 4787 asks NATs for 2
	// minutes, home routers are seen with 30 s.
	probeEvery = 20 * time.Second

	// probeAgain is the pause after a transaction without an answer.
	probeAgain = 2 * time.Second

	// A request is sent probeSends times, after probeRTO and then doubling
	// (RFC 8489 section 6.2.1, with a shorter first wait).
	probeRTO   = 250 * time.Millisecond
	probeSends = 5
)

// reflexive is what a STUN server told of this node (RFC 8445 section 5.1.1.2).
type reflexive struct {
	mapped netip.AddrPort // our address as the server sees it
	base   netip.Addr     // the local address it answered to; zero: not known
}

// probe is the Binding transaction with one server: who keeps it sends the
// requests, and handle takes the responses from the receive goroutine.
type probe struct {
	wake   chan struct{}  // ask again now
	answer chan reflexive // holds the newest

	mu      sync.Mutex // guards pending
	pending transactionID
}

func newProbe() *probe {
	return &probe{wake: make(chan struct{}, 1), answer: make(chan reflexive, 1)}
}

// request starts a transaction.
func (p *probe) request() *stun.Message {
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = m.TransactionID
	return m
}

// handle takes a Binding response; one to anything but the transaction that
// runs is dropped. It does not keep b.
func (p *probe) handle(local netip.Addr, b []byte) {
	p.mu.Lock()
	ours := stunTransaction(b) == p.pending
	p.mu.Unlock()
	if !ours || stunType(b) != bindingSuccess {
		return
	}
	m := stun.Message{Raw: append([]byte(nil), b...)}
	var mapped stun.XORMappedAddress
	if m.Decode() != nil || mapped.GetFrom(&m) != nil {
		return
	}
	ip, ok := netip.AddrFromSlice(mapped.IP)
	if !ok {
		return
	}
	select {
	case p.answer <- reflexive{canonical(netip.AddrPortFrom(ip, uint16(mapped.Port))), local}:
	default:
	}
}

// keepReflexive asks the server for our reflexive address, again and again,
// until ctx ends.
func (s *server) keepReflexive(ctx context.Context) {
	var last netip.AddrPort
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
			if silent || last.IsValid() && last != r.mapped {
				signal(s.verify)
			}
			last = r.mapped
		}
		silent = !ok
		s.underlay.probed(s)
		pause := probeEvery
		if silent {
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

// ask runs one Binding transaction.
func (s *server) ask(ctx context.Context) (reflexive, bool) {
	m := s.probe.request()
	select {
	case <-s.probe.answer: // of the one before, too late
	default:
	}
	wait := probeRTO
	for range probeSends {
		if err := s.underlay.socket.SendTo(m.Raw, zeroAddr, s.addr); err != nil {
			s.underlay.drops.unsent.Add(1)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return reflexive{}, false
		case r := <-s.probe.answer:
			t.Stop()
			return r, true
		case <-t.C:
		}
		wait *= 2
	}
	return reflexive{}, false
}
