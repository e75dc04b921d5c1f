package peer

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/p2ptun/p2ptun/signaling"
	"github.com/pion/stun/v4"
)

// The tunnel's handshake does not wait for a path: its first message travels in
// the offer, the answer to it in the session, so that the keys are there when the
// first check is. And what the tunnel has to send then goes along with the first
// checks, to where the peer says it is.
//
//	offers                                  answers
//	 offer, initiation ──────────────────►
//	     ◄────────────────────────── answer
//	     ◄──────────────── frame, response, and checks
//	 checks, data ───────────────────────►  an authentic check came from there
//	     ◄──────────────────── checks, data

// shake sends a handshake message of the tunnel's inside the session.
func (l *loop) shake(tunnels []byte) {
	started := l.next != nil && !l.next.started.IsZero() || l.current != nil
	if len(tunnels) > 0 && started {
		l.seal(message{Type: typeHandshake, Note: tunnels}, l.p.cfg.Send)
	}
}

// maxAhead frames are kept that come before the answer to our offer.
const maxAhead = 8

// overtook keeps a frame that does not open while our offer is not answered: what
// the peer says behind its answer may come before it.
func (l *loop) overtook(sealed []byte) bool {
	if l.offer == nil || !signaling.IsFrame(sealed) || len(l.ahead) == maxAhead {
		return false
	}
	l.ahead = append(l.ahead, sealed)
	return true
}

// catchUp opens what came before the answer.
func (l *loop) catchUp(now time.Time) {
	all := l.ahead
	l.ahead = nil
	for _, sealed := range all {
		l.open(sealed, now)
	}
}

// setHope has f called with each way by which a first check leaves.
func (s *checks) setHope(f func(Path)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hope = f
}

// left is called when a check has left on k.
func (s *checks) left(k pairKey) {
	s.mu.Lock()
	p := s.pairs[k]
	first := p != nil && p.tries == 1
	hope := s.hope
	s.mu.Unlock()
	if first {
		hope(k.path())
	}
}

// meet returns a copy of a check that is the agent's to look at. Who is at the address
// that it came from is known before the next packet from there is looked at: data may
// come behind the first check.
func (s *checks) meet(relay *Relay, from netip.AddrPort, check []byte) []byte {
	check = bytes.Clone(check)
	m := stun.Message{Raw: check}
	if m.Decode() == nil && stun.NewShortTermIntegrity(s.pwd).Check(&m) == nil {
		s.source(relay, from)
	}
	return check
}
