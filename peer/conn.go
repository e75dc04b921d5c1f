package peer

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

// connQueue bounds the STUN messages that wait for an agent. Before the
// answer of the peer the agent does not read, and checks that came early
// stay here.
const connQueue = 32

// conn is the socket that an agent sees under one of its local candidates: a
// view of the node's shared socket, or of a relay. Only STUN passes through
// it. Writes never block; reads end when it is closed, which is also how the
// agent aborts them. It implements ice.AddrPortReaderWriter. Safe for
// concurrent use.
type conn struct {
	mux      *mux
	checks   *checks
	id       string         // of the agent's candidate
	local    netip.AddrPort // the candidate's address
	relay    *Relay         // nil: the socket
	priority uint32         // of the candidate

	queue  chan datagram
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex // guards came, which the agent's loop reads
	came time.Time  // when the agent took the message it now handles
}

type datagram struct {
	b    []byte
	from netip.AddrPort
}

var _ ice.AddrPortReaderWriter = (*conn)(nil)

func newConn(m *mux, s *checks, c ice.Candidate, local netip.AddrPort, relay *Relay) *conn {
	return &conn{
		mux: m, checks: s, id: c.ID(), local: local, relay: relay, priority: c.Priority(),
		queue:  make(chan datagram, connQueue),
		closed: make(chan struct{}),
	}
}

// accepts says whether a packet that came over relay to local is this conn's.
func (c *conn) accepts(relay *Relay, local netip.Addr) bool {
	return c.relay == relay && (relay != nil || !local.IsValid() || local == c.local.Addr())
}

// source is the local address that packets of this conn leave from; zero for
// a relay, which is reached from wherever the kernel chooses.
func (c *conn) source() netip.Addr {
	if c.relay != nil {
		return netip.Addr{}
	}
	return c.local.Addr()
}

// deliver queues a message for the agent, which keeps b.
func (c *conn) deliver(b []byte, from netip.AddrPort) bool {
	select {
	case c.queue <- datagram{b, from}:
		return true
	default:
		return false
	}
}

// ReadFromAddrPort takes the next message; net.ErrClosed after Close.
func (c *conn) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case <-c.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	case d := <-c.queue:
		c.mu.Lock()
		c.came = time.Now()
		c.mu.Unlock()
		return copy(b, d.b), d.from, nil
	}
}

// received is when the agent took the message it is handling: it handles each
// before it takes the next.
func (c *conn) received() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.came
}

// WriteToAddrPort sends a message of the agent. A failure is counted and
// reported as success: what it needs is the retransmission that comes anyway.
func (c *conn) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	to = canonical(to)
	if isSTUN(b) {
		if stunType(b) == bindingRequest && c.checks.tooSoon(pairKey{c, to}, time.Now()) {
			return len(b), nil
		}
		c.note(b, to)
	}
	c.send(b, to)
	if isSTUN(b) && stunType(b) == bindingRequest {
		c.checks.left(pairKey{c, to})
	}
	return len(b), nil
}

// note looks at a message of the agent that is about to leave. A success
// response says that the peer's check was authentic; its address is made known
// first, because the peer may send data as soon as it has the response.
func (c *conn) note(b []byte, to netip.AddrPort) {
	switch stunType(b) {
	case bindingRequest:
		m := stun.Message{Raw: b}
		var role ice.AttrControl
		if m.Decode() == nil && role.GetFrom(&m) == nil {
			c.mux.sent(pairKey{c, to}, stunTransaction(b), &role)
		}
	case bindingSuccess:
		c.checks.source(c.relay, to)
	}
}

func (c *conn) send(b []byte, to netip.AddrPort) {
	var err error
	if c.relay != nil {
		err = c.relay.check(b, to)
	} else {
		err = c.mux.socket.SendTo(b, c.local.Addr(), to)
	}
	if err != nil {
		c.mux.drops.unsent.Add(1)
	}
}

// request makes a Binding request of our own, with first before all else.
func (c *conn) request(role ice.AttrControl, first ...stun.Setter) (*stun.Message, error) {
	ufrag, pwd := c.checks.credentials()
	return stun.Build(append(append([]stun.Setter{stun.BindingRequest, stun.TransactionID}, first...),
		stun.NewUsername(ufrag+":"+c.checks.ufrag),
		role, ice.PriorityAttr(prefPeerReflexive<<24|c.priority&0xffffff),
		stun.NewShortTermIntegrity(pwd), stun.Fingerprint)...)
}

// Close ends reads. It never fails and may be repeated.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// ReadFrom is ReadFromAddrPort for the rest of net.PacketConn's users.
func (c *conn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo is WriteToAddrPort for the rest of net.PacketConn's users.
func (c *conn) WriteTo(b []byte, to net.Addr) (int, error) {
	a, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("not a UDP address")
	}
	return c.WriteToAddrPort(b, a.AddrPort())
}

// LocalAddr is the candidate's address.
func (c *conn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// Deadlines do nothing: the agent sets one only to abort, and then closes.

// SetDeadline does nothing.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
