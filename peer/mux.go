package peer

import (
	"bytes"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

const (
	// maxSent bounds the unanswered requests that are remembered of one
	// session: 32 candidates on 4 local addresses, checked five times a
	// second, for the 8 s that a slow relay may take.
	maxSent = 5120

	// sentFor is how long a response may take.
	sentFor = 10 * time.Second
)

// mux leads incoming STUN messages to the ICE session they belong to: requests
// by the ufrag of ours that they name, responses by the request of ours that
// they answer. Never by the address they come from: two generations, or two
// peers behind one NAT, share it.
//
// It is not an ice.UDPMux: the agents take their sockets one by one through
// AddVirtualCandidate, and gather nothing by themselves. Safe for concurrent
// use.
type mux struct {
	socket Socket
	drops  *drops
	silent atomic.Pointer[map[*server]bool] // servers that do not answer; immutable, replaced under Underlay.mu

	mirrored func(c *conn, from netip.AddrPort, response *stun.Message) // nil: nobody is told

	mu       sync.Mutex // guards all below
	sessions map[string]*checks
	requests map[transactionID]request
	order    map[*checks][]transactionID // requests of each session, oldest first
}

// request is a Binding request that left and was not answered yet.
type request struct {
	key   pairKey
	at    time.Time
	agent bool // the agent's, so its response is as well
	size  int  // of a padded check, bytes; else 0
}

func newMux(socket Socket, d *drops) *mux {
	m := &mux{
		socket: socket, drops: d,
		sessions: make(map[string]*checks),
		requests: make(map[transactionID]request),
		order:    make(map[*checks][]transactionID),
	}
	m.silent.Store(new(map[*server]bool))
	return m
}

// register opens the mux for a session; it reports false when its ufrag is
// taken.
func (m *mux) register(s *checks) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[s.ufrag] != nil {
		return false
	}
	m.sessions[s.ufrag] = s
	return true
}

func (m *mux) unregister(s *checks) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[s.ufrag] == s {
		delete(m.sessions, s.ufrag)
	}
	for _, id := range m.order[s] {
		delete(m.requests, id)
	}
	delete(m.order, s)
}

// sent remembers a request that is about to leave on k; role is the agent's,
// nil for a request of our own.
func (m *mux) sent(k pairKey, id transactionID, role *ice.AttrControl) {
	now := time.Now()
	k.conn.checks.sent(k, now, role)
	m.remember(id, request{key: k, at: now, agent: role != nil})
}

// remember keeps a request until it is answered or its time is over.
func (m *mux) remember(id transactionID, r request) {
	s, now := r.key.conn.checks, r.at
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[s.ufrag] != s {
		return
	}
	ids := m.order[s]
	for len(ids) > 0 && (len(ids) >= maxSent || m.goneLocked(ids[0], now)) {
		delete(m.requests, ids[0])
		ids = ids[1:]
	}
	m.requests[id] = r
	m.order[s] = append(ids, id)
}

// goneLocked says whether a request was answered or its time is over.
func (m *mux) goneLocked(id transactionID, now time.Time) bool {
	r, ok := m.requests[id]
	return !ok || now.Sub(r.at) > sentFor
}

// route handles a STUN message that came over relay (nil: the socket) to the
// address local (zero: not known) from a peer. It does not block and does not
// keep b.
func (m *mux) route(relay *Relay, local netip.Addr, from netip.AddrPort, b []byte) {
	switch stunType(b) {
	case bindingRequest:
		m.routeRequest(relay, local, from, b)
	case bindingSuccess, bindingError:
		m.routeResponse(relay, local, from, b)
	default:
		m.drops.junk.Add(1)
	}
}

// routeRequest leads a check to the session that the first half of its
// USERNAME names (RFC 8445 section 7.2.2). The agent authenticates it.
func (m *mux) routeRequest(relay *Relay, local netip.Addr, from netip.AddrPort, b []byte) {
	ufrag, _, _ := bytes.Cut(stunUsername(b), []byte{':'})
	m.mu.Lock()
	s := m.sessions[string(ufrag)]
	m.mu.Unlock()
	if s == nil {
		m.drops.unknown.Add(1)
		return
	}
	c := s.find(relay, local, from.Addr())
	if c == nil {
		m.drops.mismatched.Add(1)
		return
	}
	switch {
	case isPadded(b) && !s.knows(from):
		m.drops.mismatched.Add(1) // long, and not yet shown to be the peer
	case !s.admits(from):
		m.drops.overflow.Add(1)
	case isPadded(b), isCheckWith(b, attrReceipt):
		c.answer(b, from)
	case !c.deliver(s.meet(relay, from, b), from):
		m.drops.overflow.Add(1)
	}
}

// routeResponse takes the response to a request of ours. It counts only when
// it comes back the way the request went (RFC 8445 section 7.2.5.2.1) and
// knows the peer's password.
func (m *mux) routeResponse(relay *Relay, local netip.Addr, from netip.AddrPort, b []byte) {
	now, id := time.Now(), stunTransaction(b)
	m.mu.Lock()
	r, ok := m.requests[id]
	m.mu.Unlock()
	if !ok || now.Sub(r.at) > sentFor {
		m.drops.unknown.Add(1)
		return
	}
	c := r.key.conn
	msg := stun.Message{Raw: bytes.Clone(b)}
	_, pwd := c.checks.credentials()
	if !c.accepts(relay, local) || from != r.key.remote || msg.Decode() != nil ||
		stun.NewShortTermIntegrity(pwd).Check(&msg) != nil {
		m.drops.mismatched.Add(1)
		return
	}
	m.mu.Lock()
	delete(m.requests, id)
	m.mu.Unlock()
	if r.agent && !c.deliver(msg.Raw, from) {
		m.drops.overflow.Add(1)
	}
	if stunType(b) == bindingSuccess {
		if m.mirrored != nil {
			m.mirrored(c, from, &msg)
		}
		if r.size > 0 {
			c.checks.sizeAnswered(r.key, r.size)
		}
		var said receipt
		if said.GetFrom(&msg) == nil {
			c.checks.reported(r.key, said, now)
		}
		c.checks.answered(r.key, now, now.Sub(r.at))
	}
}
