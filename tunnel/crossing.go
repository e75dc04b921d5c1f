package tunnel

import "time"

// Two initiations that cross undo each other: each side answers the other's,
// and with that forgets its own, so that neither answer is valid, and nothing
// happens until WireGuard tries again after 5 s. Two sides that get a path at
// the same instant, with packets waiting on both, cross nearly always.
//
// So of two that cross, the leader's stands (the lower node key's, as with
// offers): the leader drops the other one, and sends its own once more by the
// way that has just proved to work. One that still waits for a path gives way
// to the other side's, on either side.

// crossingWindow is how long an initiation of the leader's counts as under
// way. It is well above a round trip, and so short that a leader whose
// initiation was lost for good soon hears the other side again.
const crossingWindow = time.Second

// Lead makes this side the leader. One side of a pair has to be, and only one.
// To be called before the device has the peer.
func (e *Endpoint) Lead() { e.leads = true }

// crossed takes note of an initiation that arrived. If it crosses one of ours
// that stands, it returns ours, and the device must not get the other.
func (e *Endpoint) crossed() (own []byte, yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case len(e.handshake) != initiationSize:
	case e.sentAt.IsZero():
		e.handshake = e.handshake[:0]
	case e.leads && !e.answered && time.Since(e.sentAt) <= crossingWindow:
		return append([]byte(nil), e.handshake...), true
	}
	return nil, false
}

// sent notes that the kept handshake message has left.
func (e *Endpoint) sent() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sentAt = time.Now()
}

// gotResponse notes that our initiation has been answered.
func (e *Endpoint) gotResponse() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answered = true
}

// handshakeFor looks at a handshake message for the device, and reports
// whether it may have it.
func (b *Bind) handshakeFor(e *Endpoint, p []byte) bool {
	switch {
	case len(p) == responseSize && p[0] == typeResponse:
		e.gotResponse()
	case len(p) == initiationSize && p[0] == typeInitiation:
		own, crossed := e.crossed()
		if !crossed {
			return true
		}
		if r := e.route.Load(); r != nil {
			_ = b.transmit(e, r, [][]byte{own}) // a lost packet at worst
		}
		return false
	}
	return true
}
