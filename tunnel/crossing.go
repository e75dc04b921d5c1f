package tunnel

import "time"

// Two initiations that cross undo each other: each side answers the other's,
// and with that forgets its own, so that neither answer is valid, and nothing
// happens until WireGuard tries again after 5 s. Two sides that get a path at
// the same instant, with packets waiting on both, cross nearly always.
//
// So of two that cross, the leader's stands (the lower node key's, as with
// offers): the leader drops the other one. One that still waits for a path gives
// way to the other side's, on either side.

const (
	// crossingWindow is how long an initiation of the leader's counts as under
	// way. It is well above a round trip, and so short that a leader whose
	// initiation was lost for good soon hears the other side again.
	crossingWindow = time.Second

	// overtaken is how much later than the response to ours an initiation may
	// arrive that the other side sent before it: the two go through different
	// workers. One that is later is new, as from a side that was restarted.
	overtaken = 30 * time.Millisecond

	// againAfter is how long after it was sent a handshake message may go a
	// second time. Two copies that arrive together are no copies to
	// wireguard-go: its workers check for a replay side by side, both answer,
	// and the sides end up with different keys.
	againAfter = 250 * time.Millisecond

	// copyFor is how long an initiation that comes again is a copy that took another
	// way. What comes later is meant: the device may have dropped the first, as one
	// that came too soon after another.
	copyFor = 150 * time.Millisecond
)

// Lead makes this side the leader. One side of a pair has to be, and only one.
// To be called before the device has the peer.
func (e *Endpoint) Lead() { e.leads = true }

// crossed takes note of an initiation that arrived, and says whether it crosses
// one of ours that stands: then the device must not get it.
func (e *Endpoint) crossed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case len(e.handshake) != initiationSize:
	case e.sentAt.IsZero():
		e.handshake = e.handshake[:0]
	case !e.leads:
	case !e.answered.IsZero():
		return time.Since(e.answered) <= overtaken
	case time.Since(e.sentAt) <= crossingWindow:
		e.againLocked() // ours may have been lost
		return true
	}
	return false
}

// gotResponse notes that our initiation has been answered, and says whether the
// device may have the response.
func (e *Endpoint) gotResponse(p []byte) bool {
	e.mu.Lock()
	ours := len(e.handshake) == initiationSize && messageSender(e.handshake) == responseReceiver(p)
	if ours || e.keys == nil {
		e.answered = time.Now()
	}
	e.mu.Unlock()
	return e.keys == nil || ours && e.keys.gotResponse(p)
}

// unanswered is when our last initiation left, if it has not been answered;
// else zero.
func (e *Endpoint) unanswered() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.handshake) != initiationSize || !e.answered.IsZero() {
		return time.Time{}
	}
	return e.sentAt
}

// forgetHandshake gives our last handshake message up: the other side's crosses
// nothing.
func (e *Endpoint) forgetHandshake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handshake = e.handshake[:0]
}

// againLocked has the handshake message that has left sent once more, in a
// while, unless it is answered by then. Callers hold mu.
func (e *Endpoint) againLocked() {
	if e.again == nil && e.answered.IsZero() {
		e.again = time.AfterFunc(max(0, againAfter-time.Since(e.sentAt)), e.sendAgain)
	}
}

func (e *Endpoint) sendAgain() {
	e.mu.Lock()
	e.again = nil
	r := e.route.Load()
	var message []byte
	if !e.removed && e.answered.IsZero() && r != nil && time.Since(e.handshakeAt) < handshakeKeep {
		message = append(message, e.handshake...)
	}
	e.mu.Unlock()
	if len(message) > 0 {
		_ = e.bind.transmit(e, r, [][]byte{message}) // a lost packet at worst
	}
}

// repeated sends our response once more when the initiation that it answers comes
// again, and says whether that is so: the first may have been lost, as where the
// other side's NAT was not open yet for the way that it took. The device would
// drop the initiation as a replay, and the other side waits for 5 s.
func (e *Endpoint) repeated(p []byte) bool {
	e.mu.Lock()
	var again []byte
	if len(e.handshake) == responseSize && responseReceiver(e.handshake) == messageSender(p) && time.Since(e.handshakeAt) < handshakeKeep {
		again = append(again, e.handshake...)
	}
	e.mu.Unlock()
	if again == nil {
		return false
	}
	if r := e.route.Load(); r != nil {
		_ = e.bind.transmit(e, r, [][]byte{again}) // a lost packet at worst
	}
	return true
}

// copied says whether the device has just been given the same initiation: it may
// come by several paths at once. See againAfter for what two copies would do.
func (e *Endpoint) copied(p []byte) bool {
	ephemeral := [32]byte(p[8:40])
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.given == ephemeral && time.Since(e.givenAt) < copyFor {
		return true
	}
	e.given, e.givenAt = ephemeral, time.Now()
	return false
}

// handshakeFor looks at a handshake message for the device, and reports
// whether it may have it.
func (b *Bind) handshakeFor(e *Endpoint, p []byte) bool {
	switch {
	case len(p) == responseSize && p[0] == typeResponse:
		return e.gotResponse(p)
	case len(p) == initiationSize && p[0] == typeInitiation:
		return !e.repeated(p) && !e.crossed() && !e.copied(p)
	}
	return true
}
