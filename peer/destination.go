package peer

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// maxDestinations of one relay. The hub grants 1,024 channels.
	maxDestinations = 1000

	// A binding permits the peer to send for 5 minutes (RFC 8656 section 9)
	// and holds the channel for 10. It is renewed at less than half of the
	// first, by packets that nothing waits for.
	renewEvery = 2 * time.Minute
	boundFor   = 5 * time.Minute

	// unusedFor is how long nothing was sent to a destination that is left to
	// lapse, less than renewEvery by more than a tick; takenFor is how long its channel may then be no other's (RFC 8656
	// section 12: 5 minutes beyond the server's 10, and the request's own time).
	unusedFor = 100 * time.Second
	takenFor  = 15*time.Minute + 10*time.Second

	// tickEvery is how often destinations are looked at, maxRenewals how many
	// are renewed at a time: a thousand of them take 80 s.
	tickEvery   = 10 * time.Second
	maxRenewals = 128

	// What waits for a binding: packets, and for how long they are of use.
	maxQueue = 64
	queueFor = 2 * time.Second

	// A destination that the server refused is asked for again after this,
	// doubling: the server may learn in a moment that it is a member's.
	refusedWait    = 200 * time.Millisecond
	refusedMaxWait = 5 * time.Second

	// refusedSoon is when it is asked again by itself after the first refusal: who
	// has just been admitted answers the keeper while the hub hears of it.
	refusedSoon = 20 * time.Millisecond

	channelMin = 0x4000 // RFC 8656 section 12
	channelMax = 0x4FFF
)

var (
	errRelayQueue   = errors.New("relay: too many packets wait for the destination")
	errRelayRefused = errors.New("relay: the server refused the destination")
)

// destination is a peer's address that a relay sends to, with its channel:
//
//	       Send               success
//	(none) ────► binding ──────────────► bound ──► renewed each 2 minutes,
//	                │  ▲                  │        while it is used
//	        refused │  │ Send, after      │
//	                ▼  │ a wait           ▼ 5 minutes without success, or refused
//	               not bound ◄────────────┘
//	                   │ unused, and its channel free again
//	                   ▼
//	                (none)
//
// Only the binding waits for the server, in a goroutine that ends with it.
type destination struct {
	addr   netip.AddrPort
	number uint16
	bound  atomic.Bool // packets may leave on the channel
	used   atomic.Bool // a check left, since the last tick
	data   atomic.Bool // a packet of the tunnel left or came, since then

	// Guarded by the relay's mutex.
	queue   []queued
	busy    bool      // a binding is on its way
	boundAt time.Time // when the last that succeeded was asked for; zero: none
	usedAt  time.Time // either of them, at the last tick
	dataAt  time.Time // the latter; zero: never
	taken   time.Time // until then the server may hold the channel
	until   time.Time // refused: not before
	wait    time.Duration
}

type queued struct {
	b  []byte
	at time.Time
}

// mark sets a flag. The load first leaves the cache line to all that send.
func mark(flag *atomic.Bool) {
	if !flag.Load() {
		flag.Store(true)
	}
}

// table is the destinations of a relay. It is immutable: readers take no lock.
type table struct {
	byAddr   map[netip.AddrPort]*destination
	byNumber map[uint16]*destination
}

// addLocked makes a destination, with a channel that is free.
func (r *Relay) addLocked(to netip.AddrPort, now time.Time) (*destination, error) {
	old := r.table.Load()
	switch {
	case to.Addr().Is4() != r.addr.Addr().Is4():
		return nil, fmt.Errorf("relay %s: %s is of the other address family", r.addr, to)
	case !r.server.underlay.allowed(to):
		return nil, fmt.Errorf("relay %s: %s cannot be a peer's address", r.addr, to)
	case len(old.byAddr) >= maxDestinations:
		return nil, errRelayFull
	}
	for {
		if r.number++; r.number < channelMin || r.number > channelMax {
			r.number = channelMin
		}
		if old.byNumber[r.number] == nil {
			break
		}
	}
	d := &destination{addr: to, number: r.number, usedAt: now}
	t := &table{maps.Clone(old.byAddr), maps.Clone(old.byNumber)}
	t.byAddr[to], t.byNumber[d.number] = d, d
	r.table.Store(t)
	return d, nil
}

// sendUnbound sends to a destination without a channel, and has it get one. A
// packet waits for that, unless the address has a permission for another port.
func (r *Relay) sendUnbound(b []byte, to netip.AddrPort) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.table.Load()
	if t == nil {
		return errRelayClosed
	}
	now := time.Now()
	d := t.byAddr[to]
	if d == nil {
		if d, err = r.addLocked(to, now); err != nil {
			return err
		}
	}
	mark(&d.used)
	r.asks()
	switch {
	case d.bound.Load(): // just now
		return r.sendChannelData(d.number, b)
	case now.Before(d.until):
		return errRelayRefused
	case t.permits(to.Addr()):
		err = r.client.indicate(b, to)
	case len(d.queue) >= maxQueue:
		return errRelayQueue
	default:
		d.queue = append(d.queue, queued{append([]byte(nil), b...), now})
	}
	r.bindLocked(d, now, 0)
	return err
}

// permits says whether the server lets ip through: permissions have no port.
func (t *table) permits(ip netip.Addr) bool {
	for to, d := range t.byAddr {
		if to.Addr() == ip && d.bound.Load() {
			return true
		}
	}
	return false
}

// bindLocked has the server bind the destination's channel after a wait, or prolong
// that.
func (r *Relay) bindLocked(d *destination, now time.Time, wait time.Duration) {
	if d.busy {
		return
	}
	before := d.taken
	d.busy, d.taken = true, now.Add(wait+takenFor)
	r.work.Go(func() {
		if wait > 0 {
			select {
			case <-time.After(wait):
			case <-r.ctx.Done():
			}
		}
		err := r.client.bind(r.ctx, d.number, d.addr)
		r.settle(d, now, before, err)
	})
}

// settle takes the outcome of a binding that was asked for at asked; before is
// until when the channel was taken then.
func (r *Relay) settle(d *destination, asked, before time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting, now := d.queue, time.Now()
	d.busy, d.queue = false, nil
	var refusal *stun.TurnError
	switch {
	case r.table.Load() == nil:
	case err == nil:
		d.boundAt, d.wait = asked, 0
		for _, q := range waiting {
			if now.Sub(q.at) <= queueFor {
				_ = r.sendChannelData(d.number, q.b) // lost, as packets are
			}
		}
		d.bound.Store(true)
	case errors.As(err, &refusal):
		r.server.underlay.log.Debug("relay refused a destination", "local", r.addr, "remote", d.addr, "channel", d.number, "err", err)
		if !alive(refusal.ErrorCodeAttr.Code) {
			signal(r.server.verify)
		}
		d.bound.Store(false)
		d.taken = before
		if d.wait == 0 {
			d.wait, d.queue = refusedWait/2, waiting
			r.bindLocked(d, now, refusedSoon)
			return
		}
		d.wait = min(max(2*d.wait, refusedWait), refusedMaxWait)
		d.until = now.Add(d.wait)
	default: // Silence. What is bound goes on; the next packet asks again.
		signal(r.server.verify)
	}
	if err != nil {
		r.server.underlay.drops.unsent.Add(uint64(len(waiting)))
	}
}

// revive has the server bind anew what is in use: it has a new allocation for this
// node, at the address of the old one, and nothing else of it.
func (r *Relay) revive(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.table.Load()
	if t == nil {
		return
	}
	r.client.hurry()
	begun := 0
	for _, d := range t.byAddr {
		d.bound.Store(false)
		d.boundAt, d.until, d.wait = time.Time{}, time.Time{}, 0
		inUse := d.data.Load() || d.used.Load() || now.Sub(d.usedAt) < unusedFor
		if inUse && begun < maxRenewals { // the rest when they are sent to
			begun++
			r.bindLocked(d, now, 0)
		}
	}
}

// alive says whether a refused binding still proves an allocation.
func alive(code stun.ErrorCode) bool {
	return code == stun.CodeForbidden || code == stun.CodePeerAddrFamilyMismatch
}

// tick renews the bindings in use and forgets what has lapsed.
func (r *Relay) tick(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, renewals := r.table.Load(), 0
	var gone []*destination
	for _, d := range old.byAddr {
		if d.data.Swap(false) {
			d.usedAt, d.dataAt = now, now
		}
		if d.used.Swap(false) {
			d.usedAt = now
		}
		age, inUse := now.Sub(d.boundAt), now.Sub(d.usedAt) < unusedFor
		if age >= boundFor {
			d.bound.Store(false)
		}
		switch {
		case d.busy:
		case inUse && d.bound.Load() && age >= renewEvery && renewals < maxRenewals:
			renewals++
			r.bindLocked(d, now, 0)
		case !inUse && now.After(d.taken):
			gone = append(gone, d)
		}
	}
	if len(gone) == 0 {
		return
	}
	t := &table{maps.Clone(old.byAddr), maps.Clone(old.byNumber)}
	for _, d := range gone {
		delete(t.byAddr, d.addr)
		delete(t.byNumber, d.number)
	}
	r.table.Store(t)
}

// carriedFor is how long a relay counts as carrying a tunnel after a packet of it:
// WireGuard's keepalives come every 20 s, and a tick later they are seen.
const carriedFor = 45 * time.Second

// wanted says whether something was sent through the relay lately.
func (r *Relay) wanted(now time.Time) bool {
	return r.any(func(d *destination) bool {
		return d.used.Load() || d.data.Load() || now.Sub(d.usedAt) < carriedFor
	})
}

// carries says whether a tunnel leads through the relay, in either direction.
func (r *Relay) carries(now time.Time) bool {
	return r.any(func(d *destination) bool { return d.data.Load() || now.Sub(d.dataAt) < carriedFor })
}

// any says whether there is such a destination. is is called with the relay's mutex.
func (r *Relay) any(is func(*destination) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.table.Load()
	if t == nil {
		return false
	}
	for _, d := range t.byAddr {
		if is(d) {
			return true
		}
	}
	return false
}
