package peer

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

// The headers below what a path's size counts, in bytes.
const (
	ipv4Headers   = 20 + 8 // with UDP
	ipv6Headers   = 40 + 8
	relayedHeader = 4 // ChannelData, RFC 8656 section 12.4

	// maxRelayedLink is the largest link that is tried through a relay: many
	// take no longer datagrams than that.
	maxRelayedLink = 1500
)

const (
	// heardFor is how recent a path's newest answer has to be for probes to
	// say anything of sizes: the agent checks it every 2 s.
	heardFor = 3 * time.Second

	// maxSizes bounds the paths whose sizes are remembered.
	maxSizes = 16
)

// sizing is what the loop knows of the sizes that paths carry. Checks with
// padding prove them, sent unfragmented on the pair that is the path (datagram
// packetization layer PMTU discovery, RFC 8899, with the probes of
// draft-ietf-tram-stun-pmtud section 4.1). Only this direction is proved; the
// peer proves the other.
//
// A path that outlives its session keeps its size: there is nobody to answer
// probes, until the next session.
type sizing struct {
	search *search // of the path; nil: there is none
	path   Path
	used   int          // as OnMTU was told; 0: nothing yet
	proved map[Path]int // sizes that earlier paths had
}

// resize begins anew on a new path, with what it had when it was used last.
func (l *loop) resize() {
	if l.p.cfg.OnMTU == nil {
		return
	}
	z := &l.sizing
	if z.search != nil {
		if len(z.proved) >= maxSizes || z.proved == nil {
			z.proved = make(map[Path]int)
		}
		z.proved[z.path] = z.search.size()
	}
	z.path = l.path.path()
	overhead, maxLink := ipv4Headers, links[len(links)-1]
	if z.path.Remote.Addr().Is6() || z.path.Relay != nil && z.path.Relay.Server().Addr().Is6() {
		overhead = ipv6Headers
	}
	if !l.path.direct() { // where the relay is the peer's, on its way to the peer
		overhead, maxLink = overhead+relayedHeader, maxRelayedLink
	}
	z.search = newSearch(overhead, maxLink, z.proved[z.path])
	l.useSize(BasePayload)
}

// canProbe says whether the path's probes can be answered.
func (l *loop) canProbe(now time.Time) bool {
	return l.sizing.search != nil && l.current != nil && l.current.checks == l.path.key.conn.checks &&
		now.Sub(l.path.valid) < heardFor
}

// probe takes the answers to probes, and sends what is to be probed now.
func (l *loop) probe(now time.Time) {
	s := l.sizing.search
	if s == nil {
		return
	}
	if l.current != nil {
		for _, c := range l.current.checks.takeCarried() {
			if c.key == l.path.key {
				s.answered(c.size, now)
			}
		}
	}
	if !l.canProbe(now) {
		s.pause()
	} else {
		l.sendProbe(s, now)
	}
	l.useSize(s.size())
}

// sendProbe sends what is to be probed now. What this machine itself cannot
// send is known at once.
func (l *loop) sendProbe(s *search, now time.Time) {
	for {
		sizes := s.next(now, l.path.rtt, l.p.large.Load())
		if s.confirming() {
			l.p.large.Store(false)
		}
		refused := false
		for _, size := range sizes {
			if errors.Is(l.path.key.conn.probe(l.path.key.remote, size), syscall.EMSGSIZE) {
				s.tooBig(size)
				refused = true
			}
		}
		if !refused {
			return
		}
	}
}

// useSize tells the size to use, if it is another than before.
func (l *loop) useSize(size int) {
	if z := &l.sizing; z.search != nil && z.used != size {
		z.used = size
		l.p.cfg.Log.Debug("path MTU", "payload", size)
		l.p.cfg.OnMTU(size)
	}
}

// probe sends a check that is size bytes long and may not be fragmented. Its
// response is noted by the mux, see checks.takeCarried. The error is that of
// Socket.Probe.
func (c *conn) probe(to netip.AddrPort, size int) error {
	role, ok := c.checks.agentRole()
	if !ok {
		return nil
	}
	m, err := c.padded(role, size)
	if err != nil {
		c.mux.drops.unsent.Add(1)
		return nil
	}
	c.mux.remember(m.TransactionID, request{key: pairKey{c, to}, at: time.Now(), size: size})
	if c.relay != nil {
		err = c.relay.Send(m.Raw, to)
	} else {
		err = c.mux.socket.Probe(m.Raw, c.local.Addr(), to)
	}
	if err != nil {
		c.mux.drops.unsent.Add(1)
	}
	return err
}

// padded makes a check of size bytes, a multiple of 4 (RFC 8489 section 5) that
// has room for what a check needs.
func (c *conn) padded(role ice.AttrControl, size int) (*stun.Message, error) {
	bare, err := c.request(role, padding(0))
	if err != nil {
		return nil, err
	}
	return c.request(role, padding(size-len(bare.Raw)))
}

func padding(n int) stun.Setter {
	return stun.RawAttribute{Type: attrPadding, Value: make([]byte, max(n, 0))}
}
