package peer

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
)

// Server is a STUN and TURN server.
type Server struct {
	Addr               netip.AddrPort // over UDP
	Username, Password string         // TURN credentials (RFC 8489 section 9.2); without: for a server that asks for none, else STUN only
	Stream             *Stream        // the way there, if it is not UDP: then there is no Addr
	IPv6               bool           // of a stream: it is to relay over IPv6, not IPv4
}

// Waits between two tries for an allocation.
const (
	allocateWait    = 500 * time.Millisecond // after a failed one, doubling
	allocateMaxWait = 30 * time.Second
	allocateHurry   = 2 * time.Second // the longest while there are sessions
)

// server is one Server in use: it keeps the reflexive address, which measures
// the way to it, and while it is held the allocation. Its goroutines are the
// Underlay's.
type server struct {
	addr     netip.AddrPort // zero: there is a stream
	stream   *Stream        // nil: over UDP
	ipv6     bool           // of a stream: the family to relay over
	socket   Socket         // leads there
	carrier  *streamSocket  // is the socket, if there is a stream
	open     atomic.Bool    // the stream is to be
	opened   chan struct{}  // open has changed
	since    time.Time      // it has been in use
	underlay *Underlay
	probe    *probe
	answers  atomic.Uint64              // Binding responses so far
	client   atomic.Pointer[turnClient] // of the present allocation, or the try for one
	relay    atomic.Pointer[Relay]      // nil: none
	held     atomic.Bool                // an allocation is kept, or tried for
	asked4   atomic.Bool                // the newest allocation was asked for over IPv4
	only6    atomic.Int64               // that was refused, until then, in Unix seconds
	trouble  atomic.Pointer[trouble]    // of the newest try for an allocation; nil: none
	judged   reflexive                  // where joined datagrams were tested; keepReflexive owns it
	again    chan struct{}              // an allocation that was not to be had may be now
	verify   chan struct{}              // the allocation may be lost: look

	mu                 sync.Mutex // guards the credentials
	username, password string
}

// trouble is why an allocation was not to be had.
type trouble struct {
	err error
	at  time.Time
}

func newServer(u *Underlay, c Server) *server {
	s := &server{
		addr: canonical(c.Addr), stream: c.Stream, ipv6: c.IPv6, socket: u.socket, underlay: u, probe: newProbe(), since: time.Now(),
		again: make(chan struct{}, 1), verify: make(chan struct{}, 1), opened: make(chan struct{}, 1),
	}
	if s.stream != nil {
		s.carrier = new(streamSocket)
		s.addr, s.socket = netip.AddrPort{}, s.carrier
	}
	return s
}

// keep keeps the way to the server until ctx ends.
func (s *server) keep(ctx context.Context) {
	if s.stream != nil {
		s.keepStream(ctx)
		return
	}
	s.keepReflexive(ctx)
}

// setOpen says whether the stream is to be.
func (s *server) setOpen(open bool) {
	if s.open.Swap(open) != open {
		signal(s.opened)
	}
}

// setCredentials takes new ones for the next allocation; a standing one goes
// on under those it was made with.
func (s *server) setCredentials(username, password string) {
	s.mu.Lock()
	changed := s.username != username || s.password != password
	s.username, s.password = username, password
	s.mu.Unlock()
	if changed {
		s.trouble.Store(nil)
		s.only6.Store(0)
		signal(s.again)
		signal(s.verify) // they came from a hub that may have started anew
	}
}

func (s *server) credentials() (username, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.username, s.password
}

// poke asks for the reflexive address again, now.
func (s *server) poke() { signal(s.probe.wake) }

// look has the server asked what it sees of this node, and what it still has of
// it: at once, and without one waiting for the other.
func (s *server) look() {
	s.poke()
	signal(s.verify)
	signal(s.again)
}

// signal makes the reader of c look, if it is not about to already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// handle takes a packet from the server's address. It does not keep b.
func (s *server) handle(local netip.Addr, b []byte) {
	drops, r := &s.underlay.drops, s.relay.Load()
	if number, data, ok := splitChannelData(b); ok && r != nil {
		if d := r.destination(number); d != nil {
			mark(&r.heard)
			if !isSTUN(data) {
				mark(&d.data)
			}
			s.underlay.relayed(r, d.addr, data)
			return
		}
	}
	if !isSTUN(b) {
		drops.junk.Add(1)
		return
	}
	switch stunType(b) {
	case bindingSuccess, bindingError:
		s.probe.handle(local, b)
	case bindingRequest:
		drops.junk.Add(1)
	case dataIndication:
		from, data, ok := splitIndication(b)
		if !ok || r == nil {
			drops.junk.Add(1)
			return
		}
		s.underlay.relayed(r, from, data)
	default:
		if c := s.client.Load(); c == nil || !c.handle(b) {
			drops.unknown.Add(1)
		}
	}
}

// keepRelay makes the allocation and makes it again whenever it is lost, until
// ctx ends; then it is given up.
func (s *server) keepRelay(ctx context.Context) {
	var wait time.Duration
	var old *Relay // the one before
	for ctx.Err() == nil {
		r, err := s.allocate(ctx, old)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			old = nil
			s.trouble.Store(&trouble{err, time.Now()})
			signal(s.underlay.reconcile)
			s.underlay.settle(s)
			s.underlay.log.Debug("allocating a relay failed", "server", s, "err", err)
			longest := allocateMaxWait
			if s.underlay.wanted() {
				longest = allocateHurry
			}
			wait = min(max(2*wait, allocateWait), longest)
			if s.pause(ctx, wait, err) {
				wait = 0
			}
			continue
		}
		wait = 0
		s.trouble.Store(nil)
		s.relay.Store(r)
		signal(s.underlay.reconcile)
		s.underlay.setRelay(s, r)
		s.underlay.log.Debug("relay allocated", "server", s, "local", r.addr)
		err = r.run(ctx)
		old = r
		if r.next.IsValid() {
			continue // its successor's there
		}
		s.relay.Store(nil)
		s.underlay.setRelay(s, nil)
		s.client.Store(nil)
		if err != nil {
			s.underlay.log.Info("relay lost", "server", s, "local", r.addr, "err", err)
		}
	}
}

// pause waits before the next try, and says whether something has happened that
// may have changed the outcome.
func (s *server) pause(ctx context.Context, wait time.Duration, why error) (news bool) {
	if errors.Is(why, errNoCredentials) {
		wait = time.Hour // nothing but credentials can help
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-s.again:
		return true
	case <-t.C:
	}
	return false
}

// allocate makes an allocation after old, which may have made it itself.
func (s *server) allocate(ctx context.Context, old *Relay) (*Relay, error) {
	if old != nil && old.next.IsValid() {
		return newRelay(s, old.client, old.next, old), nil
	}
	username, password := s.credentials()
	client := newTURNClient(s.socket, s.addr, username, password)
	ipv4 := s.relays4()
	s.asked4.Store(ipv4)
	var before netip.AddrPort
	if old != nil {
		client.resume(old.client)
	}
	if old != nil && old.addr.Addr().Is4() == ipv4 {
		before = old.addr
	}
	s.client.Store(client)
	addr, err := client.allocate(ctx, ipv4, before)
	if refusedWith(err, stun.CodeAllocMismatch) {
		// The server still has an allocation of an earlier run for our port.
		if err = client.release(ctx); err == nil {
			addr, err = client.allocate(ctx, ipv4, before)
		}
	}
	none := errors.Is(err, errNoFamily) || refusedWith(err, stun.CodeAddrFamilyNotSupported)
	if ipv4 && s.addr.Addr().Is6() && (none || refusedWith(err, stun.CodeInsufficientCapacity)) {
		until := time.Now().Add(forgetAfter)
		if none {
			until = time.Unix(1<<40, 0) // it has none
		}
		s.only6.Store(until.Unix())
		s.asked4.Store(false)
		addr, err = client.allocate(ctx, false, netip.AddrPort{})
	}
	if err != nil {
		s.client.Store(nil)
		return nil, err
	}
	return newRelay(s, client, addr, old), nil
}

// refusedWith says whether a server has refused with one of these codes.
func refusedWith(err error, codes ...stun.ErrorCode) bool {
	var refusal *stun.TurnError
	return errors.As(err, &refusal) && slices.Contains(codes, refusal.ErrorCodeAttr.Code)
}
