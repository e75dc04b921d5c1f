package tunnel

import (
	"time"

	"github.com/p2ptun/p2ptun/config"
	wgdevice "golang.zx2c4.com/wireguard/device"
)

// WireGuard takes an initiation only if it bears a later time than any before
// (TAI64N, WireGuard paper section 5.1). So a machine whose clock went back is
// refused, without a word, by each peer that has not forgotten it. It calls for
// an initiation by the peer then, over the session. Where the peer is refused,
// too, it calls as well; the side with the lower key forgets the other's time
// when it hears that, and calls once more. The same ends the silence where a handshake
// fails for any other reason: WireGuard itself tries again after 5 s.
//
//	lower key                            other side
//	 initiation ──────────────────────► refused
//	 refused ◄────────────────────────── initiation
//	 after 1.5 s: call ───────────────►
//	      ◄──────────────────────────── call, after 1.5 s
//	 forgets; call ───────────────────►
//	 takes it ◄───────────────────────── initiation

const (
	// callAfter is how long an initiation may go unanswered on a path that
	// works: above any round trip, and above crossingWindow, in which the
	// leader would drop what it calls for.
	callAfter = 1500 * time.Millisecond

	// callEvery is how often the peer is called. It may be unable to follow while a
	// session works: WireGuard makes one initiation in 5 s.
	callEvery = 2 * time.Second
)

// refused is what there is to know of a peer that takes no initiation.
type refused struct {
	called   time.Time // when we called last
	calledBy time.Time // when the peer called last
}

// initiate follows the peer's call. A peer that has heard nothing since it started has
// no session that could be lost.
func (m *active) initiate(sessionless bool) {
	m.refused.calledBy = time.Now()
	begin(m.wg.Load(), sessionless)
}

// begin begins a handshake, also where one was begun or answered less than 5 s ago if
// what session there is does not count.
func begin(wg *wgdevice.Peer, sessionless bool) {
	if sessionless {
		wg.ExpireCurrentKeypairs()
	}
	_ = wg.SendHandshakeInitiation(false) // a lost packet at worst
}

// act says what is to be done about an initiation that left at a time (zero:
// none is unanswered).
func (r *refused) act(now, left time.Time, lower, path bool) (call, forget bool) {
	since := now.Sub(left)
	if left.IsZero() || !path || since < callAfter || since > handshakeKeep || now.Sub(r.called) < callEvery {
		return false, false
	}
	r.called = now
	return true, lower && r.calledBy.After(left)
}

// pollRefused looks after an initiation that is not answered.
func (n *Node) pollRefused(now time.Time, m *active) {
	ice := m.session.Snapshot().ICE
	call, forget := m.refused.act(now, m.endpoint.unanswered(), m.lower, ice == "connected" || ice == "completed")
	if forget {
		n.log.Info("neither side takes the other's handshakes: a clock went back", "peer", m.record.Name)
		n.forgetTime(m)
	}
	if call {
		sessionless := byte(0)
		if m.heard.IsZero() {
			sessionless = 1
		}
		m.tell([]byte{noteInitiate, sessionless})
	}
}

// forgetTime has the device forget the time of the peer's last initiation. Its
// session with the peer goes, too.
func (n *Node) forgetTime(m *active) {
	err := m.keys.give(func(k config.PresharedKey) error {
		n.tunnel.wg.RemovePeer(wgdevice.NoisePublicKey(m.record.WireGuard))
		return n.configurePeer(m, k)
	})
	if err != nil {
		n.log.Error("peer not configured", "peer", m.record.Name, "err", err)
	}
	m.endpoint.forgetHandshake()
	m.counted = traffic{} // counted anew
}
