package tunnel

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"golang.org/x/time/rate"
)

// A sealed message goes by the hub. Where that does not carry it, because there is
// none, or the member is not connected to it, or what matters was not answered in
// time, it goes in datagrams (datagrams.go) and through others as well; an offer for
// data that waits on a path which may be gone does so at once:
//
//	by the path of the tunnel     offers and answers always, as an address may have
//	                              changed on one side alone
//	to where the member's own     for replyFor, and no more than came from there
//	  datagrams came from         where the address is not proved
//	to its last good addresses    as disk has them, and to what it says in beacons;
//	                              an offer that matters goes to private ones at once
//	through mutual peers          which have a tunnel with both (mutual.go)
//
// The same message may arrive by all of them: Pair opens it once.
const (
	// widenAfter is how long an offer that matters may be without an answer
	// before it goes by every way: the time that data may wait for proof.
	widenAfter = 300 * time.Millisecond

	// heardFor is how long a path counts as one that works: WireGuard's keepalives
	// come every 20 s.
	heardFor = 25 * time.Second

	// movedFor is how long after a change of this machine's network paths count
	// for nothing.
	movedFor = 3 * time.Second

	replyFor = 3 * time.Second
	maxCame  = 3 // places that answers go to

	// urgentFor is how long after data an offer matters.
	urgentFor = 30 * time.Second

	// The same message does not go to the same place again before this.
	sameAfter = 200 * time.Millisecond
	maxSent   = 32 // are remembered

	// What goes to addresses that may be another's by now, of one member.
	guessRate  = 32 << 10 // bytes per second
	guessBurst = 96 << 10

	// lanTries is how many messages go where a beacon has said: an old one that
	// somebody repeats costs no more.
	lanTries = 3
)

// ways is where a member may be reached besides. It outlives sessions. Safe for
// concurrent use.
type ways struct {
	mu    sync.Mutex // guards all
	good  []config.KnownAddress
	lan   map[netip.AddrPort]int       // as beacons said; how often to try yet
	came  []cameBy                     // newest first
	via   map[config.NodeKey]time.Time // mutual peers that brought messages
	sent  []sentTo
	guess *rate.Limiter
	offer pendingOffer
}

// cameBy is where datagrams of the member came from.
type cameBy struct {
	by     claim
	at     time.Time
	proved bool
	credit int // bytes that may go back where it is not proved
}

// sentTo is a message that left for a place.
type sentTo struct {
	message signaling.MessageID
	to      netip.AddrPort
	at      time.Time
}

// pendingOffer is an offer that was not answered.
type pendingOffer struct {
	sealed  []byte
	at      time.Time // sent first
	matters bool
	widened bool
}

func newWays(good []config.KnownAddress) *ways {
	return &ways{good: good, guess: rate.NewLimiter(guessRate, guessBurst)}
}

// any says whether there is an address to try.
func (w *ways) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.good) > 0 || len(w.lan) > 0
}

// worked notes an address of a path that works, and says whether that is news.
func (w *ways) worked(a config.KnownAddress) (changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.good) > 0 && w.good[0].Address == a.Address {
		w.good[0].Seen = a.Seen
		return false
	}
	rest := slices.DeleteFunc(slices.Clone(w.good), func(g config.KnownAddress) bool { return g.Address == a.Address })
	w.good = append([]config.KnownAddress{a}, rest[:min(len(rest), config.MaxKnownAddresses-1)]...)
	return true
}

// known returns the last good addresses, newest first.
func (w *ways) known() []config.KnownAddress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.good)
}

// beacon notes what the member says of its place on the LAN.
func (w *ways) beacon(a netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lan == nil || len(w.lan) >= config.MaxKnownAddresses {
		w.lan = make(map[netip.AddrPort]int)
	}
	w.lan[a] = lanTries
}

// heard notes where a message of the member came from.
func (w *ways) heard(now time.Time, a arrival) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := cameBy{by: a.by, at: now, proved: a.proved, credit: a.size}
	if i := slices.IndexFunc(w.came, func(o cameBy) bool { return o.by == a.by }); i >= 0 {
		if now.Sub(w.came[i].at) < replyFor {
			c.credit = min(c.credit+w.came[i].credit, guessBurst)
		}
		w.came = slices.Delete(w.came, i, i+1)
	}
	w.came = append([]cameBy{c}, w.came[:min(len(w.came), maxCame-1)]...)
}

// spoke says whether datagrams of the member came lately.
func (w *ways) spoke(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.came) > 0 && now.Sub(w.came[0].at) < replyFor
}

// replies returns the places that size bytes may go back to now, less the path,
// and takes them for sent.
func (w *ways) replies(now time.Time, id signaling.MessageID, size int, path claim) (to []claim) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.came {
		c := &w.came[i]
		if c.by == path || now.Sub(c.at) >= replyFor || !c.proved && c.credit < size || !w.onceLocked(now, id, c.by.from) {
			continue
		}
		if !c.proved {
			c.credit -= size
		}
		to = append(to, c.by)
	}
	return to
}

// guesses returns the addresses to try with a message of size bytes, or those of them
// that are on this machine's LANs or nobody's, and takes them for tried.
func (w *ways) guesses(now time.Time, id signaling.MessageID, size int, near bool) (to []netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]netip.AddrPort, 0, 2*config.MaxKnownAddresses)
	for a := range w.lan {
		all = append(all, a)
	}
	for _, g := range w.good {
		if !slices.Contains(all, g.Address) {
			all = append(all, g.Address)
		}
	}
	for _, a := range all {
		if near && !a.Addr().IsPrivate() || !w.onceLocked(now, id, a) || !w.guess.AllowN(now, size) {
			continue
		}
		to = append(to, a)
		if tries, ok := w.lan[a]; ok && tries > 1 {
			w.lan[a]--
		} else {
			delete(w.lan, a)
		}
	}
	return to
}

// onceLocked says whether a message may go to a place, which it has not lately, and
// notes that it does.
func (w *ways) onceLocked(now time.Time, id signaling.MessageID, to netip.AddrPort) bool {
	w.sent = slices.DeleteFunc(w.sent, func(s sentTo) bool { return now.Sub(s.at) >= sameAfter })
	if slices.ContainsFunc(w.sent, func(s sentTo) bool { return s.message == id && s.to == to }) {
		return false
	}
	if len(w.sent) >= maxSent {
		w.sent = slices.Delete(w.sent, 0, 1)
	}
	w.sent = append(w.sent, sentTo{id, to, now})
	return true
}

// once is onceLocked for who sends by itself; the zero place is that of mutual
// peers.
func (w *ways) once(now time.Time, id signaling.MessageID, to netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.onceLocked(now, id, to)
}

// offers notes an offer that leaves, and says whether it has been without an answer
// for so long that it goes by every way.
func (w *ways) offers(now time.Time, sealed []byte, matters bool) (wide bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := &w.offer
	if !slices.Equal(o.sealed, sealed) {
		*o = pendingOffer{sealed: sealed, at: now}
	}
	o.matters = o.matters || matters
	wide = o.matters && now.Sub(o.at) >= widenAfter
	o.widened = o.widened || wide
	return wide
}

// answered notes that there is a session.
func (w *ways) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offer = pendingOffer{}
}

// due returns the offer that is to go by every way now, if there is one; waits says
// that there will be.
func (w *ways) due(now time.Time) (sealed []byte, waits bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := &w.offer
	if o.sealed == nil || o.widened || !o.matters {
		return nil, false
	}
	if now.Sub(o.at) < widenAfter {
		return nil, true
	}
	o.widened = true
	return o.sealed, false
}

// waiting returns an offer that is not answered, and matters.
func (w *ways) waiting() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.offer.matters {
		return nil
	}
	return w.offer.sealed
}

// cameVia notes that a mutual peer brought a message of the member.
func (w *ways) cameVia(now time.Time, peer config.NodeKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, at := range w.via {
		if now.Sub(at) >= replyFor {
			delete(w.via, p)
		}
	}
	if w.via == nil {
		w.via = make(map[config.NodeKey]time.Time)
	}
	if len(w.via) < maxCame {
		w.via[peer] = now
	}
}

// through says whether a mutual peer has lately brought messages of the member;
// anybody, where peer is zero.
func (w *ways) through(now time.Time, peer config.NodeKey) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, at := range w.via {
		if now.Sub(at) < replyFor && (peer.IsZero() || p == peer) {
			return true
		}
	}
	return false
}
