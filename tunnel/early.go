package tunnel

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/p2ptun/p2ptun/peer"
)

// What there is to send before a path is proved: the handshake goes by the
// signaling (peer/early.go), so data may be there first. It waits for the path,
// and a few packets of it go ahead to where the peer may be: behind the first check
// of each pair, and to where an authentic check of the peer's came from. The tunnel
// is sealed, and drops what comes twice. A peer that names another's address, or
// checks under one, has no more sent there than checks are (RFC 8445 section 19.5.1):
// a few packets, once in an active time.
const (
	earlyPackets = 64       // that wait
	earlySize    = 64 << 10 // their bytes
	earlyAhead   = 16 << 10 // bytes that go ahead, to all hopes together
	maxHopes     = 6        // that what comes later goes to
)

// early is what waits for an endpoint's first path. Its endpoint's mu guards it.
type early struct {
	packets [][]byte
	size    int
	hopes   []hope // best first
	ahead   int    // bytes, gone

	initiator uint32 // of the initiation that came with the signaling last
}

// hope is a way by which the peer may be reached.
type hope struct {
	*route
	sure   bool // an authentic check of the peer's came that way
	behind bool // a check of ours has left that way
}

// rank is low for what goes first: relayed ways are behind the direct ones.
func (h hope) rank() (n int) {
	if h.Relay != nil {
		n = 2
	}
	if !h.sure {
		n++
	}
	return n
}

// share is how many bytes have gone ahead at most when more go by a way: where much
// waits, what is left is for where the peer is, and takes it for ours.
func (h hope) share() int {
	switch {
	case h.sure && h.behind:
		return earlyAhead
	case h.sure:
		return earlyAhead * 3 / 4
	}
	return earlyAhead / 2
}

// hold keeps what there is no route for, and sends a copy ahead. It returns the
// route if there is one by now: then nothing was kept.
func (e *Endpoint) hold(bufs [][]byte, handshake bool) *route {
	e.mu.Lock()
	if r := e.route.Load(); r != nil || e.removed {
		e.mu.Unlock()
		return r
	}
	if !handshake {
		for _, p := range bufs {
			if len(e.early.packets) == earlyPackets || e.early.size+len(p) > earlySize {
				e.bind.counters.noPath.Add(1)
				continue
			}
			e.early.packets = append(e.early.packets, slices.Clone(p))
			e.early.size += len(p)
		}
	}
	var hopes []hope
	if !handshake || bufs[0][0] == typeResponse {
		for _, h := range e.early.hopes {
			if e.early.goes(bufs, h.share()) {
				hopes = append(hopes, h)
			}
		}
	}
	e.mu.Unlock()
	for _, h := range hopes {
		_ = e.bind.transmit(e, h.route, bufs) // a copy
	}
	return nil
}

// hopeFor takes a way by which the peer may be reached, and sends what waits there:
// as soon as it is sure, and behind our own check, as a peer that has not seen one
// from there does not know yet whose the packets are.
func (e *Endpoint) hopeFor(p Path, sure bool) {
	if e.route.Load() != nil {
		return
	}
	p.Local, p.Remote = canonicalAddr(p.Local), canonical(p.Remote)
	r := e.bind.sources.route(p)
	e.mu.Lock()
	if e.route.Load() != nil || e.removed {
		e.mu.Unlock()
		return
	}
	next, hopes := hope{r, sure, !sure}, slices.Clone(e.early.hopes)
	if i := slices.IndexFunc(hopes, func(h hope) bool { return h.Path == p }); i >= 0 {
		h := hopes[i]
		if sure && h.sure || !sure && h.behind {
			e.mu.Unlock()
			return // it has what waits
		}
		next.sure, next.behind = sure || h.sure, !sure || h.behind
		hopes = slices.Delete(hopes, i, i+1)
	}
	hopes = append(hopes, next)
	slices.SortStableFunc(hopes, func(a, b hope) int { return cmp.Compare(a.rank(), b.rank()) })
	e.early.hopes = hopes[:min(len(hopes), maxHopes)]
	packets := e.aheadLocked(next.share())
	e.mu.Unlock()
	for _, q := range packets {
		_ = e.bind.transmit(e, r, [][]byte{q})
	}
}

// aheadLocked returns what waits, as far as it may go ahead once more.
func (e *Endpoint) aheadLocked(share int) (all [][]byte) {
	var packets [][]byte
	// Not an initiation: two copies that arrive together are no copies to
	// wireguard-go, see crossing.go.
	if len(e.handshake) == responseSize {
		packets = append(packets, slices.Clone(e.handshake))
	}
	for _, p := range append(packets, e.early.packets...) {
		if e.early.goes([][]byte{p}, share) {
			all = append(all, p)
		}
	}
	return all
}

// goes says whether packets may go ahead once more by a way with that share, and
// counts them.
func (y *early) goes(packets [][]byte, share int) bool {
	size := 0
	for _, p := range packets {
		size += len(p)
	}
	if y.ahead+size > share {
		return false
	}
	y.ahead += size
	return true
}

// waits returns a copy of the initiation that nobody has answered, or nil.
func (e *Endpoint) waits() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.handshake) != initiationSize || !e.answered.IsZero() {
		return nil
	}
	return slices.Clone(e.handshake)
}

// handshakeCame takes a handshake message that came with the signaling.
func (e *Endpoint) handshakeCame(p []byte) {
	if !isHandshake(p) {
		return
	}
	if p[0] == typeInitiation {
		e.mu.Lock()
		e.early.initiator = messageSender(p)
		e.mu.Unlock()
		if e.keys != nil {
			e.keys.cameWithOffer()
		}
	}
	if e.bind.handshakeFor(e, p) {
		e.bind.enqueue(e, p)
	}
}

// answer has a response leave with the signaling, too, where the initiation came so:
// the other side may not take a packet from our path yet. Another initiation goes
// with an offer.
func (e *Endpoint) answer(p []byte) {
	e.mu.Lock()
	tell := e.onHandshake != nil && p[0] == typeResponse && e.early.initiator == responseReceiver(p)
	e.mu.Unlock()
	if tell {
		e.onHandshake(slices.Clone(p))
	}
}

// initiation is what an offer takes along, while nothing has been heard of the
// member.
func (a *active) initiation() []byte {
	if a.heardNS.Load() != 0 {
		return nil
	}
	// It makes one each 5 s at most; the error is that of sending, and nothing
	// is sent yet.
	_ = a.wg.Load().SendHandshakeInitiation(false)
	return a.endpoint.waits()
}

// source takes an address that an authentic check of the member's came from.
func (a *active) source(r *peer.Relay, from netip.AddrPort) {
	a.endpoint.AddSource(relayOf(r), from)
	a.endpoint.hopeFor(Path{Remote: from, Relay: relayOf(r)}, true)
}
