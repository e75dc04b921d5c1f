package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// verifyEvery is the pause between two times that the allocation is
	// prolonged. Some servers drop what has none in silence, so that after
	// verifyFor counts.
	verifyEvery = 30 * time.Second
	verifyFor   = 2 * time.Second

	// maxRelayed is the largest datagram that Send takes, in bytes. Whether
	// the server passes it on is another matter: pion's cuts at 1,600.
	maxRelayed = 16 << 10
)

var (
	errRelayClosed = errors.New("relay is closed")
	errRelayFull   = errors.New("relay has too many destinations")
	errRelayLost   = errors.New("relay: the server has no such allocation any more")
	errRelayLong   = errors.New("relay: datagram is too long")
)

// Relay is one TURN allocation of this node (RFC 8656), shared by all peers.
// Safe for concurrent use. Two relays are the same if they are the same
// pointer; one that is lost never comes back, a new one takes its place.
//
// The way of a packet through it:
//
//  1. To a destination that has a channel it leaves as ChannelData, from Send or
//     straight from who asked for the Channel. This takes no lock and allocates
//     nothing.
//  2. Else it waits a moment for the server to bind a channel, see destination.
//  3. What comes in is taken apart in place by server.handle.
type Relay struct {
	addr   netip.AddrPort // the relayed address
	server *server
	client *turnClient
	table  atomic.Pointer[table] // nil once closed. Replaced under mu

	mu     sync.Mutex // guards number, and what the destinations say
	number uint16     // the channel given last

	asked, heard atomic.Bool    // since vigil looked: something left, something came
	awake        chan struct{}  // asked was set
	next         netip.AddrPort // of the allocation that took this one's place; set by run
	left         *table         // that there was in the end; set by run

	ctx    context.Context // of work
	cancel context.CancelFunc
	work   sync.WaitGroup // begins under mu while table is not nil
}

// newRelay returns the relay of a new allocation, in place of old where there was one;
// run has to be called. Destinations keep their channels' numbers: what old asked for
// last may have come to the new allocation, and a number is bound to one address, an
// address to one number (RFC 8656 section 12).
func newRelay(s *server, client *turnClient, addr netip.AddrPort, old *Relay) *Relay {
	r := &Relay{addr: addr, server: s, client: client, awake: make(chan struct{}, 1)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	t := &table{make(map[netip.AddrPort]*destination), make(map[uint16]*destination)}
	if old != nil {
		r.number = old.number
		for to, d := range old.left.byAddr {
			next := &destination{addr: to, number: d.number, usedAt: d.usedAt, taken: d.taken}
			t.byAddr[to], t.byNumber[d.number] = next, next
		}
	}
	r.table.Store(t)
	return r
}

// Addr is the relayed address: what a peer sends to.
func (r *Relay) Addr() netip.AddrPort { return r.addr }

// Server is the address of the TURN server; zero where it is reached by a stream.
func (r *Relay) Server() netip.AddrPort { return r.server.addr }

// Channel returns the channel that the server has bound to the peer's address
// to: ChannelData with that number, sent to Server from the shared socket,
// reaches it. While it is false Send reaches it, and brings the binding about; it
// stays false where the server is reached by a stream. It also says that a tunnel
// uses the channel, so ask for each batch. It takes no lock and allocates nothing.
func (r *Relay) Channel(to netip.AddrPort) (number uint16, ok bool) {
	if r.server.stream != nil {
		return 0, false
	}
	return r.channel(to)
}

func (r *Relay) channel(to netip.AddrPort) (number uint16, ok bool) {
	t := r.table.Load()
	if t == nil {
		return 0, false
	}
	d := t.byAddr[canonical(to)]
	if d == nil || !d.bound.Load() {
		return 0, false
	}
	mark(&d.data)
	r.asks()
	return d.number, true
}

// asks notes that something leaves, to which an answer should come some time.
func (r *Relay) asks() {
	if !r.asked.Load() && !r.asked.Swap(true) {
		signal(r.awake)
	}
}

// Send sends a datagram of up to 16 KiB to a peer's address through the relay.
// It never blocks and does not keep b. The first packets to an address wait for
// the server's permission, a few of them for two seconds at most.
func (r *Relay) Send(b []byte, to netip.AddrPort) error {
	if len(b) > maxRelayed {
		return errRelayLong
	}
	if number, ok := r.channel(to); ok {
		return r.sendChannelData(number, b)
	}
	return r.sendUnbound(b, canonical(to))
}

// check is Send for a check of ICE, which does not make a tunnel of the way.
func (r *Relay) check(b []byte, to netip.AddrPort) error {
	if t := r.table.Load(); t != nil {
		if d := t.byAddr[to]; d != nil && d.bound.Load() {
			mark(&d.used)
			r.asks()
			return r.sendChannelData(d.number, b)
		}
	}
	return r.sendUnbound(b, to)
}

// frames are the buffers of sendChannelData.
var frames = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

func (r *Relay) sendChannelData(number uint16, b []byte) error {
	f := frames.Get().(*[]byte)
	defer frames.Put(f)
	*f = binary.BigEndian.AppendUint16((*f)[:0], number)
	*f = binary.BigEndian.AppendUint16(*f, uint16(len(b)))
	*f = append(*f, b...)
	if isPadded(b) { // of use only as long as it is whole
		return r.client.socket.Probe(*f, zeroAddr, r.client.server)
	}
	return r.client.socket.SendTo(*f, zeroAddr, r.client.server)
}

// destination is who the channel is bound to, or was a moment ago; nil: nobody.
func (r *Relay) destination(number uint16) *destination {
	if t := r.table.Load(); t != nil {
		return t.byNumber[number]
	}
	return nil
}

// run keeps the allocation until ctx ends or it is lost, which is the error.
// It is given up in any case, but for one that has taken its place: see next.
func (r *Relay) run(ctx context.Context) error {
	err := r.watch(ctx)
	r.mu.Lock()
	r.left = r.table.Swap(nil)
	r.mu.Unlock()
	r.cancel()
	r.work.Wait()
	if ctx.Err() != nil {
		r.next = netip.AddrPort{} // nobody takes it
	}
	if !r.next.IsValid() {
		r.client.releaseBlindly()
	}
	return err
}

// watch returns nil when ctx ends, else why the relay is of no use any more.
func (r *Relay) watch(ctx context.Context) error {
	prolong, tick := time.NewTicker(verifyEvery), time.NewTicker(tickEvery)
	defer prolong.Stop()
	defer tick.Stop()
	var v vigil
	look := time.NewTimer(0)
	defer look.Stop()
	wanted, verified := r.server.verify, make(chan error, 1)
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			r.tick(now)
		case <-prolong.C:
			r.work.Go(func() { r.prolong(ctx) })
		case <-r.awake:
		case <-look.C:
		case <-wanted:
			wanted = nil // one at a time
			r.work.Go(func() { verified <- r.verify(ctx) })
		case err := <-verified:
			if wanted = r.server.verify; err != nil {
				return fmt.Errorf("relay %s: %w", r.addr, err)
			}
		}
		again, suspect := v.look(time.Now(), r.server.probe.measured().rtt, &r.asked, &r.heard)
		if suspect {
			r.server.look()
		}
		if again > 0 {
			look.Reset(again)
		}
	}
}

// prolong has the server keep the allocation. If it does not say that it does,
// there may be none.
func (r *Relay) prolong(ctx context.Context) {
	r.server.poke()
	ctx, cancel := context.WithTimeout(ctx, verifyFor)
	defer cancel()
	if r.client.refresh(ctx) != nil {
		signal(r.server.verify)
	}
}

// verify asks for an allocation: a server that has it refuses another, and one
// that has lost it, or knows this node by another address, makes a new one, where
// a Refresh would be met with silence by some. It returns an error if the relay
// cannot go on.
func (r *Relay) verify(ctx context.Context) error {
	if r.server.cut() {
		return errRelayLost
	}
	addr, err := r.client.allocate(ctx, r.addr.Addr().Is4(), r.addr)
	var refusal *stun.TurnError
	switch {
	case err == nil && addr == r.addr:
		r.server.underlay.log.Info("relay made again", "server", r.server, "local", r.addr)
		r.revive(time.Now())
		return nil
	case err == nil:
		r.next = addr
		return errRelayLost
	case errors.As(err, &refusal) && refusal.ErrorCodeAttr.Code != stun.CodeAllocMismatch:
		return r.verifyOld(ctx)
	}
	return nil // or the server is out of reach: it may still have the allocation
}

// verifyOld finds out whether there is an allocation where another would not be
// made: the credentials are too old for that, say.
func (r *Relay) verifyOld(ctx context.Context) error {
	answers := r.server.answers.Load()
	r.server.poke()
	ctx, cancel := context.WithTimeout(ctx, verifyFor)
	defer cancel()
	err := r.client.refresh(ctx)
	var refusal *stun.TurnError
	if errors.As(err, &refusal) || err != nil && r.server.answers.Load() != answers {
		return fmt.Errorf("%w: %w", errRelayLost, err)
	}
	return nil
}

// lost says whether the relay carries nothing any more.
func (r *Relay) lost() bool { return r.table.Load() == nil }
