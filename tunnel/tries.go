package tunnel

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// tries is what becomes of a response to a handshake that this side began: the
// device is given the response once for each key, until one fits.
//
//	        response                type 4 to its sender leaves
//	(idle) ──────────► given to the device ─────────────────────► (idle)
//	                    ▲          │ refused                         ▲
//	         next key   └──────────┴─────────────────────────────────┘
//	                                  all keys were tried
//
// A response that does not fit leaves the device's handshake as it was
// (ConsumeMessageResponse), and one that fits is followed by a packet at once,
// if only an empty one. The device gives no other sign of either, but that it
// logs the first: see refusedResponse.
//
// The ring's mutex guards all but state.
type tries struct {
	state atomic.Uint64 // the response's sender, and one of the bits below; 0: idle

	initiation, sender uint32 // of the last response given to the device
	response           []byte // nil: it fitted
	at                 time.Time
	keys               []config.PresharedKey // tried on it: what the device had when it came, then what was set for it alone
}

// key is the one that is tried last.
func (t *tries) key() config.PresharedKey { return t.keys[len(t.keys)-1] }

// set is the key that the device is to have for the response alone, if it is to.
func (t *tries) set() (k config.PresharedKey, ok bool) {
	if !t.active() || len(t.keys) < 2 {
		return k, false
	}
	return t.key(), true
}

const (
	tried  = 1 << 32 // the response is in the device
	fitted = 1 << 33 // a packet has shown that it fitted
)

// triesFor is how long a response may wait in the device, which says nothing
// where it is too busy to look at it.
const triesFor = time.Second

// refusedResponse is what the device logs, with the endpoint, of a response
// that did not fit.
const refusedResponse = "Received invalid response message from %s"

func (t *tries) active() bool { return t.state.Load()&tried != 0 }

// end ends tries that came to an end, or are too old, and says with which key
// they did well, if they did.
func (t *tries) end(now time.Time) (k config.PresharedKey, ok bool) {
	if t.active() && now.Sub(t.at) < triesFor {
		return k, false
	}
	if ok = t.state.Swap(0)&fitted != 0; ok {
		k, t.response, t.keys = t.key(), nil, nil
	}
	return k, ok
}

// gotResponse takes a response to our last initiation and says whether the
// device may have it: not a second copy, nor another while that one is tried.
func (r *keyRing) gotResponse(p []byte) bool {
	initiation, sender := responseReceiver(p), messageSender(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.tries
	if t.initiation == initiation && (t.active() || t.sender == sender) {
		return false
	}
	now := time.Now()
	if k, ok := t.end(now.Add(triesFor)); ok { // settle was not called since
		r.workedLocked(k, now)
	}
	t.initiation, t.sender, t.response, t.at = initiation, sender, slices.Clone(p), now
	t.keys = []config.PresharedKey{r.installed}
	t.state.Store(tried | uint64(sender))
	return true
}

// sent looks at a packet of the device's that leaves.
func (r *keyRing) sent(p []byte) {
	v := r.tries.state.Load()
	if v&tried != 0 && len(p) >= transportMin && p[0] == typeTransport && transportReceiver(p) == uint32(v) {
		r.tries.state.CompareAndSwap(v, fitted|uint64(uint32(v)))
	}
}

// refused is called when the device has refused a response.
func (r *keyRing) refused() { r.tryNext(true) }

// retry gives the device the last response once more where no key fitted it and there
// is another now: one made under a session's key may overtake the answer that gives it.
func (r *keyRing) retry() { r.tryNext(false) }

// tryNext gives the device the response that is being tried, or was, again, with the
// next key. Where there is none the tries end.
func (r *keyRing) tryNext(isTried bool) {
	r.mu.Lock()
	t := &r.tries
	if t.active() != isTried || t.state.Load()&fitted != 0 {
		r.mu.Unlock()
		return
	}
	k, more := r.untriedLocked()
	if more {
		t.keys, t.at = append(t.keys, k), time.Now()
		t.state.Store(tried | uint64(t.sender))
	} else {
		t.state.Store(0)
	}
	response := t.response
	r.mu.Unlock()
	r.apply()
	if more {
		r.again(response)
	}
}

// untriedLocked is the key to try next on the last response: the newest first, and last
// the one that the device had when it came, as that may have changed before it looked.
func (r *keyRing) untriedLocked() (next config.PresharedKey, ok bool) {
	t := &r.tries
	if t.response == nil {
		return next, false
	}
	for _, k := range slices.Backward(r.keys) {
		switch {
		case slices.ContainsFunc(t.keys[1:], k.Equal):
		case !k.Equal(t.keys[0]):
			return k, true
		default:
			next, ok = k, true
		}
	}
	return next, ok
}

// Indices in WireGuard's messages (WireGuard paper, section 5.4).
func messageSender(p []byte) uint32     { return binary.LittleEndian.Uint32(p[4:]) }
func responseReceiver(p []byte) uint32  { return binary.LittleEndian.Uint32(p[8:]) }
func transportReceiver(p []byte) uint32 { return binary.LittleEndian.Uint32(p[4:]) }
