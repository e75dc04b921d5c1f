package tunnel

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// Each session gives its two sides a new preshared key, at different moments,
// and either may crash between. WireGuard knows one key per peer, and where the
// sides' keys differ a handshake fails without a word, for 5 s. So:
//
//   - A side keeps the keys that the other may use, and answers handshakes
//     under the newest that the other is known to have: who offered the session
//     knows that from the answer, who answered from the first proof (a frame, or
//     a check with the answer's password), which comes before the other has a
//     path of that session.
//   - A key enters a handshake with the response alone. So who began one tries
//     all keys on the response, see tries.go.
//
// An initiation that came with an offer is answered under that session's key: the
// response goes behind the answer, which gives it.
//
// With that every handshake succeeds as long as the answering side's key is
// among the other's keys, whoever begins it.
//
//	              offers                                answers
//	[K0]     K0   offer ─────────────────────────────►
//	                                              stores K1   [K0 K1]  K0
//	[K0 K1]  K1   ◄───────────────────────────── answer
//	              first check ───────────────────────►        [K0 K1]  K1
//	[K1]     K1         a minute after a handshake under K1   [K1]     K1
//
// Before the first session a peer has a key that nobody knows: packets may
// wait for a session then, and wake it, but nothing can be agreed without one.

// dropAfter is how long after the first handshake under a key the older ones
// go. By then the other side has on disk that it uses that key, too.
const dropAfter = time.Minute

// keyRing is the preshared keys of one peer. It implements peer.Keys. Safe for
// concurrent use.
type keyRing struct {
	install func(config.PresharedKey) error              // puts a key into the device
	save    func(config.PeerKeys) (durable func() error) // must not block; durable may
	again   func(response []byte)                        // gives the device a response; must not block
	log     *slog.Logger

	// changing is held while the device's key is changed. What the device waits
	// for when it closes, such as receiving and sending, never takes it.
	changing sync.Mutex

	mu        sync.Mutex // guards all below; nothing that blocks is done under it
	keys      []config.PresharedKey
	use       int                 // the one to answer with; meaningless without keys
	installed config.PresharedKey // what the device has
	responded config.PresharedKey // under which the last response was made; zero: none since
	worked    config.PresharedKey // of the last complete handshake; zero: none in this run
	workedAt  time.Time           // of the first under that key
	offered   time.Time           // when an initiation came with an offer, and was not answered yet; zero: none did
	tries     tries               // but for what in it is atomic
	closed    bool
}

// newKeyRing returns the ring of a peer with these keys from earlier runs. The
// device has to get the peer by give.
func newKeyRing(known config.PeerKeys, log *slog.Logger) *keyRing {
	r := &keyRing{keys: slices.Clone(known.Keys), use: known.Use, log: log, installed: config.NewPresharedKey()}
	if len(r.keys) > 0 {
		r.installed = r.keys[r.use]
	}
	return r
}

// give has f give the peer to the device, with the key that it gets.
func (r *keyRing) give(f func(config.PresharedKey) error) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	k := r.installed
	r.mu.Unlock()
	return f(k)
}

// Pending implements peer.Keys. The first key of all is in use at once.
func (r *keyRing) Pending(k config.PresharedKey) {
	r.mu.Lock()
	r.addLocked(k)
	durable := r.saveLocked()
	r.mu.Unlock()
	r.apply()
	r.retry()
	if err := durable(); err != nil {
		// It serves as long as this run does, and longer is seldom needed.
		r.log.Warn("preshared key not saved", "err", err)
	}
}

// Proved implements peer.Keys.
func (r *keyRing) Proved(k config.PresharedKey) {
	r.mu.Lock()
	r.useLocked(k)
	r.mu.Unlock()
	r.apply()
}

// Agreed implements peer.Keys.
func (r *keyRing) Agreed(k config.PresharedKey) {
	r.mu.Lock()
	r.addLocked(k)
	r.useLocked(k)
	r.saveLocked()
	r.mu.Unlock()
	r.apply()
	r.retry()
}

// indexLocked is where k stands, or -1.
func (r *keyRing) indexLocked(k config.PresharedKey) int { return slices.IndexFunc(r.keys, k.Equal) }

// addLocked makes k the newest key. Beyond the limit the oldest goes that the
// other side is not likely to use: it was never shown to have it.
func (r *keyRing) addLocked(k config.PresharedKey) {
	if r.closed || k.IsZero() || r.indexLocked(k) >= 0 {
		return
	}
	if len(r.keys) == config.MaxPeerKeys {
		worked := r.indexLocked(r.worked)
		for i := range r.keys {
			if i != r.use && i != worked {
				r.removeLocked(i, i+1)
				break
			}
		}
	}
	r.keys = append(slices.Clip(r.keys), k) // a new slice: the old one is the store's
}

// removeLocked removes keys that are not in use.
func (r *keyRing) removeLocked(from, to int) {
	r.keys = slices.Concat(r.keys[:from], r.keys[to:])
	if r.use >= to {
		r.use -= to - from
	}
}

// useLocked has handshakes answered with k, unless that is an older one.
func (r *keyRing) useLocked(k config.PresharedKey) {
	if i := r.indexLocked(k); i > r.use {
		r.use = i
		r.saveLocked()
	}
}

func (r *keyRing) saveLocked() (durable func() error) {
	if r.closed {
		return func() error { return nil }
	}
	return r.save(config.PeerKeys{Keys: r.keys, Use: r.use})
}

// apply brings the device in line with the ring.
func (r *keyRing) apply() {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	k := r.installed
	tried, trying := r.tries.set()
	switch {
	case r.closed:
	case trying:
		k = tried
	case len(r.keys) > 0 && time.Since(r.offered) < triesFor:
		k = r.keys[len(r.keys)-1]
	case len(r.keys) > 0:
		k = r.keys[r.use]
	}
	same := k.Equal(r.installed)
	r.mu.Unlock()
	if same {
		return
	}
	if err := r.install(k); err != nil {
		r.log.Error("preshared key not set", "err", err)
		return
	}
	r.mu.Lock()
	r.installed = k
	r.mu.Unlock()
}

// answered notes that the device made a response.
func (r *keyRing) answered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.responded, r.offered = r.installed, time.Time{}
}

// cameWithOffer says that the next initiation came with an offer: it is answered
// under the key of that session. Who gets the response gets the key before it, and
// may have lost those of earlier sessions.
func (r *keyRing) cameWithOffer() {
	r.mu.Lock()
	r.offered = time.Now()
	r.mu.Unlock()
	r.apply()
}

// settle looks at what became of handshakes; completed says that the device has
// counted another. To be called every second or so.
func (r *keyRing) settle(now time.Time, completed bool) {
	r.mu.Lock()
	k, fitted := r.tries.end(now)
	switch {
	case fitted:
		r.workedLocked(k, now)
		r.useLocked(k) // the other side answered with it
	case completed && !r.responded.IsZero():
		r.workedLocked(r.responded, now)
	}
	if i := r.indexLocked(r.worked); i > 0 && i <= r.use && now.Sub(r.workedAt) >= dropAfter {
		r.removeLocked(0, i)
		r.saveLocked()
	}
	r.mu.Unlock()
	r.apply()
}

func (r *keyRing) workedLocked(k config.PresharedKey, now time.Time) {
	r.responded = config.PresharedKey{}
	if !k.Equal(r.worked) {
		r.worked, r.workedAt = k, now
	}
}

// since says whether the last handshake was made under a session's key, and
// since when they are under this one.
func (r *keyRing) since() (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.workedAt, !r.worked.IsZero()
}

// close ends the ring: it forgets the keys, and the device's stays.
func (r *keyRing) close() {
	r.changing.Lock() // a change that is under way ends first
	defer r.changing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.keys, r.use = nil, 0
	r.tries.state.Store(0)
	r.tries.response, r.tries.keys = nil, nil
}
