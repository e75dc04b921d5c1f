package tunnel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

// pairDevice is the packet side of an interface: a file that can be polled, one
// packet to a read.
type pairDevice struct {
	wgtun.Device
	file   *os.File
	kernel *os.File // the other side
}

func newPairDevice(t *testing.T) *pairDevice {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := &pairDevice{file: os.NewFile(uintptr(fds[0]), "device"), kernel: os.NewFile(uintptr(fds[1]), "kernel")}
	t.Cleanup(func() {
		d.file.Close()
		d.kernel.Close()
	})
	return d
}

func (d *pairDevice) File() *os.File { return d.file }

func (d *pairDevice) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n, err := d.file.Read(bufs[0][offset:])
	if err != nil {
		return 0, err
	}
	sizes[0] = n
	return 1, nil
}

var (
	idleA, idleB = netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("fd77::2")
	elsewhere    = netip.MustParseAddr("10.77.0.9")
)

// packetTo is an IP packet that bears a number.
func packetTo(to netip.Addr, number, size int) []byte {
	p := make([]byte, size)
	p[0] = 4 << 4
	at := 16
	if to.Is6() {
		p[0], at = 6<<4, 24
	}
	copy(p[at:], to.AsSlice())
	binary.BigEndian.PutUint32(p[size-4:], uint32(number))
	return p
}

func doorsAt(at map[netip.Addr]*door) *doors {
	t := newDoors(len(at))
	for a, d := range at {
		t.add(a, d)
	}
	return t
}

func numberOf(p []byte) int { return int(binary.BigEndian.Uint32(p[len(p)-4:])) }

// gateLab is a gate with doors for two idle members, and what is read from it.
type gateLab struct {
	*gate
	device *pairDevice
	a, b   *door
	got    chan []byte
	ended  chan error
}

func newGateLab(t *testing.T) *gateLab {
	t.Helper()
	l := &gateLab{device: newPairDevice(t), a: &door{node: config.NodeKey{1}}, b: &door{node: config.NodeKey{2}}, got: make(chan []byte, 1000), ended: make(chan error, 1)}
	l.gate = newGate(l.device)
	l.setDoors(doorsAt(map[netip.Addr]*door{idleA: l.a, idleB: l.b}))
	go func() {
		bufs, sizes, _ := newBatch()
		for {
			n, err := l.Read(bufs, sizes, 16)
			if err != nil {
				l.ended <- err
				return
			}
			for i := range n {
				if sizes[i] > 0 {
					l.got <- append([]byte(nil), bufs[i][16:16+sizes[i]]...)
				}
			}
		}
	}()
	t.Cleanup(func() {
		l.device.file.Close()
		if err := <-l.ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Read ended with %v", err)
		}
	})
	return l
}

func (l *gateLab) write(t *testing.T, p []byte) {
	t.Helper()
	if _, err := l.device.kernel.Write(p); err != nil {
		t.Fatal(err)
	}
}

func (l *gateLab) expect(t *testing.T, to netip.Addr, number int) {
	t.Helper()
	select {
	case p := <-l.got:
		if want := packetTo(to, number, len(p)); !bytes.Equal(p, want) {
			t.Fatalf("packet %x, want %d to %v", p, number, to)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("packet %d to %v does not come", number, to)
	}
}

// waitFor returns when packets wait at a door.
func (l *gateLab) waitFor(t *testing.T, d *door, packets int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; {
		l.mu.Lock()
		n := len(d.packets)
		l.mu.Unlock()
		if n == packets {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d packets wait, want %d", n, packets)
		}
	}
}

// Packets to an idle member wait, ask for it once, and go on in order when the
// door is opened; others pass.
func TestGate(t *testing.T) {
	l := newGateLab(t)
	for i := range 3 {
		l.write(t, packetTo(idleA, i, 100))
	}
	l.write(t, packetTo(elsewhere, 3, 100))
	l.write(t, packetTo(idleB, 4, 100))
	l.expect(t, elsewhere, 3)
	l.waitFor(t, l.b, 1)
	<-l.wanted
	if asks := l.news(); len(asks) != 2 || asks[0] != l.a || asks[1] != l.b {
		t.Errorf("asked for %v, want a and b, once each", asks)
	}
	l.open(l.a)
	for i := range 3 {
		l.expect(t, idleA, i)
	}
	l.write(t, packetTo(idleA, 5, 100))
	l.expect(t, idleA, 5)
	l.open(l.b)
	l.expect(t, idleB, 4)

	l.shut(l.a)
	l.write(t, packetTo(idleA, 6, 100))
	<-l.wanted
	l.expire(time.Now())
	if !l.waits(l.a) {
		t.Error("a packet was dropped at once")
	}
	l.expire(time.Now().Add(doorFor))
	if l.waits(l.a) {
		t.Error("a packet waits for ever")
	}
	l.remove(l.a)
	l.write(t, packetTo(idleA, 7, 100))
	l.expect(t, idleA, 7) // the device's to drop
	if l.size != 0 {
		t.Errorf("%d bytes wait nowhere", l.size)
	}
}

// However often the door opens and shuts, no packet is lost or overtaken.
func TestGateOrder(t *testing.T) {
	l := newGateLab(t)
	const packets = 20_000
	room := make(chan struct{}, doorPackets/2) // packets on their way
	var work sync.WaitGroup
	work.Go(func() {
		for i := range packets {
			room <- struct{}{}
			l.write(t, packetTo(idleA, i, 60))
		}
	})
	done := make(chan struct{})
	work.Go(func() {
		for {
			l.open(l.a)
			select {
			case <-done:
				return
			default:
				l.shut(l.a)
			}
		}
	})
	for i := range packets {
		l.expect(t, idleA, i)
		<-room
	}
	close(done)
	work.Wait()
}

// What waits is bounded, for each member and for all; the first packets stay.
func TestGateBounds(t *testing.T) {
	g := newGate(newPairDevice(t))
	d := new(door)
	for i := range 1000 {
		g.keep(d, packetTo(idleA, i, 1280))
	}
	if len(d.packets) != doorPackets || numberOf(d.packets[0]) != 0 {
		t.Errorf("%d packets wait, want %d", len(d.packets), doorPackets)
	}
	for range 1000 {
		d := new(door)
		for range 4 {
			g.keep(d, packetTo(idleA, 1, 60_000))
		}
		if d.size > doorSize {
			t.Fatalf("%d bytes wait for one member", d.size)
		}
	}
	if g.size > gateSize || g.size < gateSize-60_000 {
		t.Errorf("%d bytes wait, want %d at most", g.size, gateSize)
	}
	if asks := g.news(); len(asks) != 1001 {
		t.Errorf("%d members asked for, want each once", len(asks))
	}
}

// batchDevice has the same packets for each read.
type batchDevice struct {
	wgtun.Device
	batch [][]byte
}

func (d *batchDevice) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for i, p := range d.batch {
		sizes[i] = len(p)
		copy(bufs[i][offset:], p[:40]) // the header is what counts
	}
	return len(d.batch), nil
}

// passing are gates through which all goes: to one destination, and to two in turn.
func passing() map[string]*gate {
	a, b := new(door), new(door)
	doors := map[netip.Addr]*door{idleA: a, idleB: b}
	for i := range 2000 {
		doors[netip.AddrFrom4([4]byte{10, 78, byte(i >> 8), byte(i)})] = new(door)
	}
	one, two := new(batchDevice), new(batchDevice)
	for i := range 64 {
		one.batch = append(one.batch, packetTo(idleA, i, 1280))
		two.batch = append(two.batch, packetTo([]netip.Addr{idleA, idleB}[i%2], i, 1280))
	}
	all := map[string]*gate{"one destination": newGate(one), "two": newGate(two)}
	for _, g := range all {
		g.setDoors(doorsAt(doors))
		a.open.Store(true)
		b.open.Store(true)
	}
	return all
}

func TestGateAllocates(t *testing.T) {
	bufs, sizes, _ := newBatch()
	for name, g := range passing() {
		if got := testing.AllocsPerRun(200, func() { g.Read(bufs, sizes, 16) }); got != 0 {
			t.Errorf("%s: %v allocations, want none", name, got)
		}
	}
}

// BenchmarkGate reads batches of 64 packets; ns/packet holds the copying of 40
// bytes each.
func BenchmarkGate(b *testing.B) {
	bufs, sizes, _ := newBatch()
	for name, g := range passing() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.Read(bufs, sizes, 16)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*b.N), "ns/packet")
		})
	}
	b.Run("without", func(b *testing.B) {
		d := passing()["two"].Device
		for b.Loop() {
			d.Read(bufs, sizes, 16)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*b.N), "ns/packet")
	})
}
