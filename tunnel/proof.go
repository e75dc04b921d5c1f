package tunnel

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/peer"
)

// What proves a path is data that passes: the gate sees it before it is encrypted,
// and after it has been authenticated. Where there is none to see, or none comes
// back, a packet of this node's own goes through the tunnel: an IPv4 header and no
// more, from this machine's address to the peer's, of a protocol that is for
// experiments (RFC 3692 section 2.1), so that nothing else takes it for its own. The
// other gate takes it out.
const (
	probeProtocol = 253
	probeSize     = 20
)

// quiet is how long nothing came until what comes is told anew.
const quiet = 500 * time.Millisecond

// waitFor is how long data is taken to wait that no more follows.
const waitFor = 5 * time.Second

// proof is what the gate has seen of a member's data. Times are in Unix nanoseconds,
// 0 for never.
type proof struct {
	awaits atomic.Int64              // the first packet left after the last came
	sent   atomic.Int64              // the last packet left
	heard  atomic.Int64              // the last packet came
	told   atomic.Pointer[peer.Peer] // of what leaves and comes; nil: nobody is
}

// sends notes that packets leave.
func (p *proof) sends(now time.Time) {
	ns := now.UnixNano()
	p.sent.Store(ns)
	if p.awaits.Load() == 0 {
		p.awaits.Store(ns)
		if told := p.told.Load(); told != nil {
			told.Sending()
		}
	}
}

// hears notes that authentic packets came.
func (p *proof) hears(now time.Time) {
	before := p.heard.Swap(now.UnixNano())
	if told := p.told.Load(); told != nil && now.UnixNano()-before > int64(quiet) {
		told.Receiving()
	}
	if p.awaits.Load() != 0 {
		p.awaits.Store(0)
	}
}

// waiting is since when data waits for an answer; zero: it does not.
func (p *proof) waiting(now time.Time) time.Time {
	if now.UnixNano()-p.sent.Load() > int64(waitFor) {
		p.awaits.Store(0) // nobody waits any more
	}
	return unixNano(p.awaits.Load())
}

// Write is as the interface's, less what is for this node. All packets of a batch
// are of one peer.
func (g *gate) Write(bufs [][]byte, offset int) (int, error) {
	if d := g.from(bufs, offset); d != nil {
		d.hears(time.Now())
	}
	n := len(bufs)
	for i, b := range bufs {
		if isProbe(b[offset:]) {
			bufs = withoutProbes(bufs, i, offset)
			break
		}
	}
	if len(bufs) == 0 {
		return n, nil
	}
	if _, err := g.Device.Write(bufs, offset); err != nil {
		return 0, err
	}
	return n, nil
}

// from is the door of the member that a batch is from, or nil.
func (g *gate) from(bufs [][]byte, offset int) *door {
	t := g.doors.Load()
	if t == nil || len(bufs) == 0 {
		return nil
	}
	switch p := bufs[0][offset:]; {
	case len(p) >= 20 && p[0]>>4 == 4:
		return t.four[[4]byte(p[12:16])]
	case len(p) >= 40 && p[0]>>4 == 6:
		return t.six[[16]byte(p[8:24])]
	}
	return nil
}

// isProbe says whether an inner packet is a node's own.
func isProbe(p []byte) bool {
	return len(p) == probeSize && p[0] == 0x45 && p[9] == probeProtocol
}

// withoutProbes copies a batch less its probes, of which the first is at i.
func withoutProbes(bufs [][]byte, i, offset int) [][]byte {
	rest := append([][]byte(nil), bufs[:i]...)
	for _, b := range bufs[i:] {
		if !isProbe(b[offset:]) {
			rest = append(rest, b)
		}
	}
	return rest
}

// probe makes a packet of this node's own.
func probe(from, to netip.Addr) []byte {
	p := make([]byte, probeSize)
	p[0], p[8], p[9] = 0x45, 1, probeProtocol
	binary.BigEndian.PutUint16(p[2:], probeSize)
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	var sum uint32
	for i := 0; i < probeSize; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
	return p
}

// maxOwn bounds the own packets that wait to be read.
const maxOwn = 128

// insert has a packet of this node's own read as if it came from the interface.
func (g *gate) insert(p []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.own) < maxOwn {
		g.own = append(g.own, p)
		g.releaseLocked()
	}
}

// passage is an active member's data, as the session with it sees it.
type passage struct {
	*active
	gate  *gate
	probe []byte
}

var _ peer.Tunnel = (*passage)(nil)

// newPassage returns the member's.
func (n *Node) newPassage(a *active) *passage {
	return &passage{active: a, gate: n.tunnel.gate, probe: probe(n.tunnel.ipv4, a.record.IPv4)}
}

// Waiting implements peer.Tunnel.
func (p *passage) Waiting() time.Time { return p.door.waiting(time.Now()) }

// Last implements peer.Tunnel.
func (p *passage) Last() time.Time { return unixNano(p.door.heard.Load()) }

// Answered implements peer.Tunnel.
func (p *passage) Answered() { p.door.awaits.Store(0) }

// Heard implements peer.Tunnel. That a message came by the path the socket knows, that
// it was authentic the gate knows: both must have seen one by then.
func (p *passage) Heard(r *peer.Relay, from netip.AddrPort) time.Time {
	came := p.endpoint.HeardBy(relayOf(r), from)
	if authentic := unixNano(p.door.heard.Load()); authentic.Before(came) {
		return authentic
	}
	return came
}

// Probe implements peer.Tunnel.
func (p *passage) Probe() {
	if p.door.open.Load() {
		p.gate.insert(p.probe)
	}
}

// Spread implements peer.Tunnel.
func (p *passage) Spread(paths []peer.Path) {
	var list []Path
	for _, x := range paths {
		list = append(list, pathOf(x))
	}
	p.endpoint.Spread(list)
}

// pathOf is a path of the session's as the Bind takes it.
func pathOf(p peer.Path) Path {
	return Path{Local: p.Local, Remote: p.Remote, Relay: relayOf(p.Relay)}
}
