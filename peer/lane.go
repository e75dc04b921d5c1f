package peer

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	laneQueue  = 128              // packets: two WireGuard batches
	laneIdle   = 60 * time.Second // a lane without packets ends
	laneMaxAge = 2 * time.Second  // a packet that waited longer is of no use

	// A destination that the server refused is asked for again after this,
	// doubling: the server may learn in a moment that it is a member's.
	refusedWait    = 200 * time.Millisecond
	refusedMaxWait = 5 * time.Second
)

var errLaneFull = errors.New("relay: queue to the destination is full")

// lane is the way through a relay to one destination: a queue, and a goroutine
// that may wait for the server without holding up other destinations.
type lane struct {
	relay *Relay
	to    netip.AddrPort
	udp   *net.UDPAddr
	queue chan lanePacket
}

type lanePacket struct {
	b  *[]byte
	at time.Time
}

// lanePool keeps the copies of packets that wait in lanes.
var lanePool = sync.Pool{New: func() any { b := make([]byte, 0, maxRelayed); return &b }}

func newLane(r *Relay, to netip.AddrPort) *lane {
	return &lane{relay: r, to: to, udp: net.UDPAddrFromAddrPort(to), queue: make(chan lanePacket, laneQueue)}
}

// push queues a copy of b; the relay's mutex is held.
func (l *lane) push(b []byte) error {
	buf := lanePool.Get().(*[]byte)
	*buf = append((*buf)[:0], b...)
	select {
	case l.queue <- lanePacket{buf, time.Now()}:
		return nil
	default:
		lanePool.Put(buf)
		return errLaneFull
	}
}

// run sends what is queued until the lane is idle or its relay closed.
func (l *lane) run() {
	idle := time.NewTimer(laneIdle)
	defer idle.Stop()
	var wait time.Duration // while refused
	var until time.Time
	for {
		select {
		case <-l.relay.done:
			return
		case <-idle.C:
			if l.end() {
				return
			}
			idle.Reset(laneIdle)
		case p := <-l.queue:
			idle.Reset(laneIdle)
			now := time.Now()
			if now.Sub(p.at) <= laneMaxAge && !now.Before(until) {
				if l.send(*p.b) {
					wait = 0
				} else {
					wait = min(max(2*wait, refusedWait), refusedMaxWait)
					until = time.Now().Add(wait)
				}
			}
			lanePool.Put(p.b)
		}
	}
}

// end takes the lane out of its relay, unless a packet came just now.
func (l *lane) end() bool {
	l.relay.mu.Lock()
	defer l.relay.mu.Unlock()
	if len(l.queue) > 0 {
		return false
	}
	delete(l.relay.lanes, l.to)
	return true
}

// send writes one packet. It blocks while the server is asked for permission,
// and reports false when the packet did not leave.
func (l *lane) send(b []byte) (ok bool) {
	p, mine := l.relay.permit(l.to.Addr())
	if mine {
		defer func() { l.relay.settle(l.to.Addr(), p, ok) }()
	} else if !l.granted(p) {
		return false
	}
	if _, err := l.relay.conn.WriteTo(b, l.udp); err != nil {
		l.relay.server.underlay.drops.unsent.Add(1)
		return false
	}
	return true
}
