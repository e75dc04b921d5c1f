package tunnel

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
	"golang.zx2c4.com/wireguard/conn"
)

// patience is how long a test waits for what must happen. It is far above what
// is measured; tests that promise speed measure it.
const patience = 10 * time.Second

// call is one call of a Handler.
type call struct {
	kind  packetKind
	data  string
	local netip.Addr
	from  netip.AddrPort
}

// recorder is a Handler that keeps what it gets.
type recorder struct {
	calls chan call
	relay *channelRelay // the one that there is, or nil
}

// channelRelay is a relay with one channel.
type channelRelay struct {
	plainRelay
	server, peer netip.AddrPort
	number       uint16
}

func (r *channelRelay) Server() netip.AddrPort { return r.server }

func (r *channelRelay) Channel(to netip.AddrPort) (uint16, bool) { return r.number, to == r.peer }

func newRecorder() *recorder { return &recorder{calls: make(chan call, 256)} }

func (r *recorder) STUN(b []byte, local netip.Addr, from netip.AddrPort) {
	r.calls <- call{classify(b), string(b), local, from}
}

// Channel knows the channels that the test has put there.
func (r *recorder) Channel(number uint16, from netip.AddrPort) (Relay, netip.AddrPort, bool) {
	if r.relay != nil && from == r.relay.server && number == r.relay.number {
		return r.relay, r.relay.peer, true
	}
	return nil, netip.AddrPort{}, false
}

func (r *recorder) Datagram(b []byte, _ Relay, from netip.AddrPort, owner *Endpoint) {
	if owner != nil {
		from = owner.name
	}
	r.calls <- call{kind: kindSealed, data: string(b), from: from}
}

// packet is what a Bind gave to the device.
type packet struct {
	data []byte
	from conn.Endpoint
}

// openBind opens b and reads it as a device would, until the test ends.
func openBind(t testing.TB, b *Bind, port uint16) (<-chan packet, uint16) {
	t.Helper()
	fns, port, err := b.Open(port)
	if err != nil {
		t.Fatal(err)
	}
	packets := make(chan packet, 4096)
	var readers sync.WaitGroup
	for _, fn := range fns {
		readers.Go(func() { readAll(t, fn, packets) })
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		readers.Wait()
	})
	return packets, port
}

// readAll reads fn until it is closed.
func readAll(t testing.TB, fn conn.ReceiveFunc, packets chan<- packet) {
	bufs, sizes, eps := newBatch()
	for {
		n, err := fn(bufs, sizes, eps)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		for i := range n {
			if sizes[i] > 0 {
				packets <- packet{slices.Clone(bufs[i][:sizes[i]]), eps[i]}
			}
		}
	}
}

// newBatch returns what a device hands to a receive function.
func newBatch() (bufs [][]byte, sizes []int, eps []conn.Endpoint) {
	bufs = make([][]byte, conn.IdealBatchSize)
	for i := range bufs {
		bufs[i] = make([]byte, 65535)
	}
	return bufs, make([]int, len(bufs)), make([]conn.Endpoint, len(bufs))
}

// next takes one value from c.
func next[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// listenUDP returns a plain socket of a peer or a server.
func listenUDP(t testing.TB, addr string) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Skipf("this machine cannot listen on %s: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// expect reads want from c and returns where it came from.
func expect(t testing.TB, c *net.UDPConn, want []byte) netip.AddrPort {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 65535)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf[:n], want) {
		t.Fatalf("got % x, want % x", buf[:min(n, 32)], want[:min(len(want), 32)])
	}
	return canonical(from)
}

// written is one datagram sent on a fakeConn.
type written struct {
	data   string
	source string // what Run.From was given
	to     netip.AddrPort
}

// fakeConn is a packetConn whose reads and write errors a test decides.
type fakeConn struct {
	reads chan func(bufs [][]byte, sizes []int) (n int, from netip.AddrPort, err error)
	write func(b, source []byte) error

	mu    sync.Mutex // guards all below: timers send as well
	sent  []written
	tries int // writes, refused ones too
}

func (c *fakeConn) ReadInto(bufs [][]byte, sizes []int) (int, udpbatch.Arrival, error) {
	f, ok := <-c.reads
	if !ok {
		return 0, udpbatch.Arrival{}, net.ErrClosed
	}
	n, from, err := f(bufs, sizes)
	return n, udpbatch.Arrival{From: from}, err
}

func (c *fakeConn) WriteRun(r *udpbatch.Run) (sent int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for d := range r.All {
		c.tries++
		if c.write != nil {
			if err := c.write(d, r.Source()); err != nil {
				return sent, err
			}
		}
		c.sent = append(c.sent, written{string(d), string(r.Source()), r.To()})
		sent++
	}
	return sent, nil
}

func (c *fakeConn) SetMark(uint32) error            { return nil }
func (c *fakeConn) WriteJoined(*udpbatch.Run) error { return errors.ErrUnsupported }
func (c *fakeConn) WriteWhole(*udpbatch.Run) error  { return errors.ErrUnsupported }
func (c *fakeConn) SetGSO(bool)                     {}
func (c *fakeConn) GSO() bool                       { return false }

func (c *fakeConn) Close() error { return nil }

// checkLeaks fails the test if goroutines started in it outlive it. It must be
// called before anything else that registers a cleanup.
func checkLeaks(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(patience)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Fatalf("goroutines: %d, want %d\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
			}
			runtime.Gosched()
		}
	})
}

var (
	home     = netip.MustParseAddr("127.0.0.1")
	nameA    = netip.MustParseAddr("fd00::a")
	nameB    = netip.MustParseAddr("fd00::b")
	stranger = netip.MustParseAddrPort("203.0.113.9:1000")
)
