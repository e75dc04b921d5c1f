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
	response           []byte
	at                 time.Time
	key                config.PresharedKey   // what the device has for it
	set                bool                  // it has it for that alone
	left               []config.PresharedKey // not tried yet
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
	ok = t.state.Swap(0)&fitted != 0
	k, t.key, t.set, t.left, t.response = t.key, k, false, nil, nil
	return k, ok
}

// reopen lets a response that no key fitted come once more: there is another key.
// One made under a session's key may overtake the answer that gives it.
func (t *tries) reopen() {
	if t.state.Load() == 0 {
		t.initiation, t.sender = 0, 0
	}
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
	t.initiation, t.sender, t.response, t.at, t.key = initiation, sender, slices.Clone(p), now, r.installed
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

// refused is called when the device has refused a response: it gets it again,
// with the next key. The newest come first, the one that it had comes last.
func (r *keyRing) refused() {
	r.mu.Lock()
	t := &r.tries
	if !t.active() {
		r.mu.Unlock()
		return
	}
	if !t.set {
		t.left = slices.Clone(r.keys)
		slices.Reverse(t.left)
		slices.SortStableFunc(t.left, func(a, b config.PresharedKey) int {
			return compareBool(a.Equal(t.key), b.Equal(t.key))
		})
	}
	if len(t.left) == 0 {
		t.state.Store(0)
		t.end(t.at)
		r.mu.Unlock()
		r.apply()
		return
	}
	t.key, t.left, t.set = t.left[0], t.left[1:], true
	response := t.response
	r.mu.Unlock()
	r.apply()
	r.again(response)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// Indices in WireGuard's messages (WireGuard paper, section 5.4).
func messageSender(p []byte) uint32     { return binary.LittleEndian.Uint32(p[4:]) }
func responseReceiver(p []byte) uint32  { return binary.LittleEndian.Uint32(p[8:]) }
func transportReceiver(p []byte) uint32 { return binary.LittleEndian.Uint32(p[4:]) }
