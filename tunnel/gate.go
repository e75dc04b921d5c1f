package tunnel

import (
	"errors"
	"net/netip"
	"os"
	"slices"
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

	doors    atomic.Pointer[doors] // nil: none
	released atomic.Bool           // some doors' packets are to be read

	mu    sync.Mutex // guards the doors' packets, and what follows
	own   [][]byte   // packets of this node's own, see proof.go
	size  int        // bytes, of all that wait
	asks  []*door    // for whom packets began to wait, and nobody knows it yet
	asked []*door    // for whom packets began to wait
	leave []*door    // opened, with packets

	// Owned by the reader.
	table *doors   // that door is of
	four  [4]byte  // destination of the last IPv4 packet
	door4 *door    // of four; nil: the device knows best
	six   [16]byte // the same of IPv6
	door6 *door
}

// doors are those of all members, by their addresses inside the tunnel. Immutable.
type doors struct {
	four map[[4]byte]*door
	six  map[[16]byte]*door
}

func (t *doors) add(a netip.Addr, d *door) {
	if a.Is4() {
		t.four[a.As4()] = d
		return
	}
	t.six[a.As16()] = d
}

func newDoors(members int) *doors {
	return &doors{make(map[[4]byte]*door, members), make(map[[16]byte]*door, members)}
}

// door is a member's place in the gate.
type door struct {
	node config.NodeKey
	open atomic.Bool // changed under the gate's mutex

	// Guarded by the gate's mutex.
	packets [][]byte
	size    int       // bytes
	asked   bool      // somebody is to open it
	since   time.Time // asked
	leaving bool      // opened; the reader sets open when all packets are through

	proof
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

// setDoors replaces the members. Other destinations are left to the device.
func (g *gate) setDoors(t *doors) { g.doors.Store(t) }

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
	if t := g.doors.Load(); t != g.table {
		g.table = t
		g.door4, g.door6 = t.four[g.four], t.six[g.six]
	}
	var last *door
	for i, b := range bufs {
		p := b[offset : offset+sizes[i]]
		d := g.doorOf(p)
		if d != nil && !d.open.Load() && g.keep(d, p) {
			sizes[i] = 0
			continue
		}
		if d != nil && d != last {
			d.sends(time.Now())
			last = d
		}
		found = found || sizes[i] > 0
	}
	return found
}

// doorOf is the door of an IP packet's destination, or nil.
func (g *gate) doorOf(p []byte) *door {
	switch {
	case g.table == nil:
		return nil
	case len(p) >= 20 && p[0]>>4 == 4:
		if to := [4]byte(p[16:20]); to != g.four {
			g.four, g.door4 = to, g.table.four[to]
		}
		return g.door4
	case len(p) >= 40 && p[0]>>4 == 6:
		if to := [16]byte(p[24:40]); to != g.six {
			g.six, g.door6 = to, g.table.six[to]
		}
		return g.door6
	}
	return nil
}

// keep has a copy of a packet wait, or drops it, and says false where the door
// stands open after all.
func (g *gate) keep(d *door, p []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d.open.Load() {
		return false
	}
	if !d.asked && !d.leaving {
		d.asked, d.since = true, time.Now()
		g.asks, g.asked = append(g.asks, d), append(g.asked, d)
		signal(g.wanted)
	}
	if len(d.packets) < doorPackets && d.size+len(p) <= doorSize && g.size+len(p) <= gateSize {
		d.packets = append(d.packets, append([]byte(nil), p...))
		d.size += len(p)
		g.size += len(p)
	}
	return true
}

// news returns the doors at which packets wait since the last time.
func (g *gate) news() []*door {
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
	return d.asked
}

// open lets a member's packets through, those that waited first. The device has
// to know the member.
func (g *gate) open(d *door) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d.asked = false
	if d.leaving || len(d.packets) == 0 {
		d.open.Store(!d.leaving)
		return
	}
	d.leaving = true
	g.leave = append(g.leave, d)
	g.releaseLocked()
}

// releaseLocked has Read look at what waits.
func (g *gate) releaseLocked() {
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
	d.asked, d.leaving = d.asked || len(d.packets) > 0, false
}

// remove ends a door: what waits is dropped, and what is still led to it is left
// to the device.
func (g *gate) remove(d *door) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clearLocked(d)
	d.asked, d.leaving = false, false
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
	for n < len(bufs) && len(g.own) > 0 {
		sizes[n] = copy(bufs[n][offset:], g.own[0])
		g.own = g.own[1:]
		n++
	}
	for n == 0 && len(g.leave) > 0 {
		d := g.leave[0]
		if d.leaving { // it was not shut again
			for n < len(bufs) && len(d.packets) > 0 {
				p := d.packets[0]
				d.sends(time.Now())
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
	if len(g.leave) == 0 && len(g.own) == 0 {
		g.leave, g.own = nil, nil
		g.released.Store(false)
	}
	return n
}

// expire drops what has waited too long at doors that stay shut.
func (g *gate) expire(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = slices.DeleteFunc(g.asked, func(d *door) bool {
		if d.asked && now.Sub(d.since) >= doorFor {
			d.asked = false
			g.clearLocked(d)
		}
		return !d.asked
	})
}
