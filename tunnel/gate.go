package tunnel

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/config"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

// gate stands between the interface and the WireGuard device. A packet to a
// member that the device does not know, because nothing was said to it for a
// while, waits here, and has the member asked for; it goes on when the device
// has the member.
//
//	kernel ──► gate.Read ──────────────────────────────► device
//	              │ the door is shut          ▲ in order, before what follows
//	              ▼                           │
//	            door.packets ─── open ────────┘
//	              │
//	              ▼ wanted
//	            the node's loop
//
// The way of a packet whose door stands open costs a comparison with the
// destination of the one before, and nothing is allocated.
//
// Read is for one goroutine; all else is safe for concurrent use.
type gate struct {
	wgtun.Device

	wanted chan struct{} // holds one signal while there is something for asked

	doors    atomic.Pointer[map[netip.Addr]*door] // immutable; of all members
	released atomic.Bool                          // some doors' packets are to be read

	mu    sync.Mutex // guards the doors' packets, and what follows
	size  int        // bytes, of all that wait
	asks  []*door    // for whom packets began to wait
	leave []*door    // opened, with packets

	// Owned by the reader.
	table *map[netip.Addr]*door // that last is of
	last  netip.Addr            // destination of the packet before
	door  *door                 // of last; nil: the device knows best
}

// door is a member's place in the gate.
type door struct {
	node config.NodeKey
	open atomic.Bool // changed under the gate's mutex

	// Guarded by the gate's mutex.
	packets [][]byte
	size    int // bytes
	since   time.Time
	leaving bool // opened; the reader sets open when all packets are through
}

// What may wait: the first packets of a flow, until a path is found. Those that
// come when it is full are lost, as on any other queue.
const (
	doorPackets = 64
	doorSize    = 128 << 10 // bytes
	gateSize    = 4 << 20   // bytes, of all members

	// doorFor is how long packets to a member that is not there may wait.
	doorFor = 30 * time.Second
)

// newGate returns a gate without doors before a device.
func newGate(d wgtun.Device) *gate {
	return &gate{Device: d, wanted: make(chan struct{}, 1)}
}

// setDoors replaces the table of who has which address. Other destinations are
// left to the device.
func (g *gate) setDoors(doors map[netip.Addr]*door) { g.doors.Store(&doors) }

// Read is as the interface's, less the packets that have to wait (their size is
// 0, which the device passes over), and with those that need not any more.
func (g *gate) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for {
		if g.released.Load() {
			if n := g.take(bufs, sizes, offset); n > 0 {
				return n, nil
			}
		}
		n, err := g.Device.Read(bufs, sizes, offset)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// Taken back before looking again: what is released from now on
			// sets it anew.
			if err := g.File().SetReadDeadline(time.Time{}); err != nil {
				return 0, err
			}
			continue
		}
		if g.sort(bufs[:n], sizes, offset) || err != nil {
			return n, err
		}
	}
}

// sort keeps the packets that have to wait, and says whether any goes on.
func (g *gate) sort(bufs [][]byte, sizes []int, offset int) (found bool) {
	table := g.doors.Load()
	if table != g.table {
		g.table, g.last, g.door = table, netip.Addr{}, nil
	}
	if table == nil {
		return len(bufs) > 0
	}
	for i, b := range bufs {
		to, ok := destination(b[offset : offset+sizes[i]])
		if ok && to != g.last {
			g.last, g.door = to, (*table)[to]
		}
		if ok && g.door != nil && !g.door.open.Load() && g.keep(g.door, b[offset:offset+sizes[i]]) {
			sizes[i] = 0
			continue
		}
		found = found || sizes[i] > 0
	}
	return found
}

// destination is where an IP packet goes to.
func destination(p []byte) (netip.Addr, bool) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[16:20])), true
	case len(p) >= 40 && p[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(p[24:40])), true
	}
	return netip.Addr{}, false
}

// keep has a copy of a packet wait, or drops it, and says false where the door
// stands open after all.
func (g *gate) keep(d *door, p []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d.open.Load() {
		return false
	}
	if len(d.packets) == 0 && !d.leaving {
		d.since = time.Now()
		g.asks = append(g.asks, d)
		select {
		case g.wanted <- struct{}{}:
		default:
		}
	}
	if len(d.packets) < doorPackets && d.size+len(p) <= doorSize && g.size+len(p) <= gateSize {
		d.packets = append(d.packets, append([]byte(nil), p...))
		d.size += len(p)
		g.size += len(p)
	}
	return true
}

// asked returns the members that packets wait for since the last time.
func (g *gate) asked() []*door {
	g.mu.Lock()
	defer g.mu.Unlock()
	asks := g.asks
	g.asks = nil
	return asks
}

// waits says whether packets wait at a door.
func (g *gate) waits(d *door) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(d.packets) > 0
}

// open lets a member's packets through, those that waited first. The device has
// to know the member.
func (g *gate) open(d *door) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d.leaving || len(d.packets) == 0 {
		d.open.Store(!d.leaving)
		return
	}
	d.leaving = true
	g.leave = append(g.leave, d)
	g.released.Store(true)
	if f := g.File(); f != nil {
		f.SetReadDeadline(time.Unix(1, 0)) // wakes Read; a file that is closed has no reader
	}
}

// shut has a member's packets wait from now on.
func (g *gate) shut(d *door) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d.open.Store(false)
	d.leaving = false
}

// remove ends a door: what waits is dropped, and what is still led to it is left
// to the device.
func (g *gate) remove(d *door) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clearLocked(d)
	d.leaving = false
	d.open.Store(true)
}

func (g *gate) clearLocked(d *door) {
	g.size -= d.size
	d.packets, d.size = nil, 0
}

// take reads packets of one opened door.
func (g *gate) take(bufs [][]byte, sizes []int, offset int) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for n == 0 && len(g.leave) > 0 {
		d := g.leave[0]
		if d.leaving { // it was not shut again
			for n < len(bufs) && len(d.packets) > 0 {
				p := d.packets[0]
				sizes[n] = copy(bufs[n][offset:], p)
				d.packets = d.packets[1:]
				d.size -= len(p)
				g.size -= len(p)
				n++
			}
			if len(d.packets) > 0 {
				return n
			}
			d.packets, d.leaving = nil, false
			d.open.Store(true)
		}
		g.leave = g.leave[1:]
	}
	if len(g.leave) == 0 {
		g.leave = nil
		g.released.Store(false)
	}
	return n
}

// expire drops what has waited too long at doors that stay shut.
func (g *gate) expire(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.size == 0 {
		return
	}
	for _, d := range *g.doors.Load() {
		if d.size > 0 && !d.leaving && now.Sub(d.since) >= doorFor {
			g.clearLocked(d)
		}
	}
}
