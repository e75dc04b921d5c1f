package tunnel

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
	"golang.zx2c4.com/wireguard/conn"
)

// TestAcceptSortsABatch gives one run of datagrams of every kind.
func TestAcceptSortsABatch(t *testing.T) {
	h := newRecorder()
	b := NewBind(BindConfig{Handler: h})
	e := b.NewEndpoint(nameA, nil)
	e.AddSource(nil, stranger)

	run := []struct {
		data []byte
		kind packetKind
	}{
		{wireGuardMessage(1, initiationSize), kindWireGuard},
		{stunMessage(0x0001, 8), kindSTUN},
		{channelData(0x4000, 100, 0), kindChannelData},
		{wireGuardMessage(4, 1400), kindWireGuard},
		{[]byte("\xC0sealed"), kindSealed},
		{[]byte("\x80junk"), kindJunk},
		{nil, kindJunk},
		{wireGuardMessage(4, 32), kindWireGuard},
	}
	bufs, sizes, eps := newBatch()
	for i, p := range run {
		sizes[i] = copy(bufs[i], p.data)
	}
	a := udpbatch.Arrival{From: stranger, Local: home, Interface: 9}
	if !b.accept(bufs[:len(run)], sizes, eps, a) {
		t.Error("nothing for the device")
	}
	for i, p := range run {
		wantSize, wantEndpoint := 0, conn.Endpoint(nil)
		if p.kind == kindWireGuard {
			wantSize, wantEndpoint = len(p.data), e
		}
		if sizes[i] != wantSize || eps[i] != wantEndpoint {
			t.Errorf("packet %d: size %d, endpoint %v; want %d, %v", i, sizes[i], eps[i], wantSize, wantEndpoint)
		}
		var want call
		switch p.kind {
		case kindSTUN, kindChannelData:
			want = call{p.kind, string(p.data), home, stranger}
		case kindSealed:
			want = call{kind: p.kind, data: string(p.data), from: e.name}
		default:
			continue
		}
		if got := next(t, h.calls); got != want {
			t.Errorf("packet %d: the handler got %+v, want %+v", i, got, want)
		}
	}
	if got, want := b.Counters(), (Counters{Junk: 2}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
	if src := b.sources.find(home); src == nil || src.ifindex != 9 {
		t.Errorf("the source of %v is %+v, want on interface 9", home, src)
	}
}

func TestUnknownSource(t *testing.T) {
	b := NewBind(BindConfig{Handler: newRecorder()})
	bufs, sizes, eps := newBatch()
	for i := range 3 {
		sizes[i] = copy(bufs[i], wireGuardMessage(4, 64))
	}
	if b.accept(bufs[:3], sizes, eps, udpbatch.Arrival{From: stranger}) {
		t.Error("a packet from nobody reached the device")
	}
	if got, want := b.Counters(), (Counters{UnknownSource: 3}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
}

// TestHandlerHearsLocal sends STUN to the second of a machine's addresses,
// joined by the kernel with another packet where it does that.
func TestHandlerHearsLocal(t *testing.T) {
	checkLeaks(t)
	h := newRecorder()
	b := NewBind(BindConfig{Handler: h})
	_, port := openBind(t, b, 0)
	c, from := listenUDP(t, "127.0.0.1:0")
	for _, local := range []string{"127.0.0.2", "127.0.0.1"} {
		to := netip.AddrPortFrom(netip.MustParseAddr(local), port)
		if _, err := c.WriteToUDPAddrPort(stunMessage(1, 0), to); err != nil {
			t.Skip(err) // 127.0.0.2 is local on Linux alone
		}
		if got := next(t, h.calls); got.local.IsValid() && got.local != to.Addr() || got.from != from {
			t.Errorf("from %v to %v, want from %v to %v", got.from, got.local, from, to.Addr())
		}
	}
}

// temporary is an error that says of itself, as a net.Error, how lasting it is.
type temporary bool

func (temporary) Error() string     { return "failed" }
func (temporary) Timeout() bool     { return false }
func (t temporary) Temporary() bool { return bool(t) }

// TestReadErrors runs a receive function as the device does, which ends at an
// error that calls itself lasting, and at the eleventh of any in a row.
func TestReadErrors(t *testing.T) {
	for _, failure := range []error{
		&net.OpError{Op: "read", Err: syscall.ENOMEM}, temporary(false), temporary(true), errors.New("odd"),
	} {
		const failures = 2000
		c := &fakeConn{reads: make(chan func([][]byte, []int) (int, netip.AddrPort, error), failures+1)}
		for range failures {
			c.reads <- func([][]byte, []int) (int, netip.AddrPort, error) { return 0, netip.AddrPort{}, failure }
		}
		c.reads <- func(bufs [][]byte, sizes []int) (int, netip.AddrPort, error) {
			sizes[0] = copy(bufs[0], wireGuardMessage(4, 32))
			return 1, stranger, nil
		}
		b := NewBind(BindConfig{Handler: newRecorder()})
		b.NewEndpoint(nameA, nil).AddSource(nil, stranger)
		fn := b.receiveFrom(&socket{c})
		bufs, sizes, eps := newBatch()
		inARow, pauses := 0, 0
		for n := 0; n == 0; {
			var err error
			n, err = fn(bufs, sizes, eps)
			if err == nil {
				inARow = 0
				continue
			}
			if _, ok := err.(net.Error); ok {
				t.Fatalf("%v may call itself lasting", err)
			}
			pauses++
			if inARow++; inARow > 10 {
				t.Fatal("the device would have given up")
			}
		}
		if sizes[0] != 32 || b.Counters().ReadErrors != failures {
			t.Errorf("size %d after %+v", sizes[0], b.Counters())
		}
		if want := failures / (2 * readRetries); pauses < want {
			t.Errorf("%d pauses, want at least %d: this would spin", pauses, want)
		}
		close(c.reads)
		if _, err := fn(bufs, sizes, eps); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after close: %v, want net.ErrClosed", err)
		}
	}
}

// plainRelay is a Relay that does nothing.
type plainRelay struct{ _ int }

func (*plainRelay) Send([]byte, netip.AddrPort) error     { return nil }
func (*plainRelay) Server() netip.AddrPort                { return netip.AddrPort{} }
func (*plainRelay) Channel(netip.AddrPort) (uint16, bool) { return 0, false }

func TestRelayed(t *testing.T) {
	checkLeaks(t)
	b := NewBind(BindConfig{Handler: newRecorder()})
	packets, _ := openBind(t, b, 0)
	r1, r2 := &plainRelay{}, &plainRelay{}
	ep1, ep2 := b.NewEndpoint(nameA, nil), b.NewEndpoint(nameB, nil)
	ep1.AddSource(r1, stranger)
	ep2.AddSource(r2, stranger) // the same address behind another relay

	p := wireGuardMessage(4, 100)
	b.Relayed(r1, stranger, p)
	want := slices.Clone(p)
	clear(p) // it was copied
	if got := next(t, packets); got.from != ep1 || !bytes.Equal(got.data, want) {
		t.Errorf("got % x of %v, want % x of %v", got.data, got.from, want, ep1)
	}
	b.Relayed(r2, stranger, want)
	if got := next(t, packets); got.from != ep2 {
		t.Errorf("got a packet of %v, want %v", got.from, ep2)
	}

	b.Relayed(r1, netip.MustParseAddrPort("203.0.113.9:1001"), want)
	b.Relayed(&plainRelay{}, stranger, want)
	b.Relayed(r1, stranger, stunMessage(1, 0))
	if got, want := b.Counters(), (Counters{UnknownSource: 2, Junk: 1}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
}

// TestRelayedOverflow fills the queue of a Bind that nobody reads.
func TestRelayedOverflow(t *testing.T) {
	b := NewBind(BindConfig{Handler: newRecorder()})
	r := &plainRelay{}
	b.NewEndpoint(nameA, nil).AddSource(r, stranger)
	for range relayedQueue + 5 {
		b.Relayed(r, stranger, wireGuardMessage(4, 64))
	}
	if got, want := b.Counters(), (Counters{RelayedFull: 5}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
	fn := b.receiveRelayed(make(chan struct{}))
	bufs, sizes, eps := newBatch()
	for total := 0; total < relayedQueue; {
		n, err := fn(bufs, sizes, eps)
		if err != nil || n != len(bufs) {
			t.Fatalf("read %d, %v; want full batches", n, err)
		}
		total += n
	}
}

// TestReopen closes and opens a Bind as the device does when it goes down and
// up: what was known of peers stays, and the port.
func TestReopen(t *testing.T) {
	checkLeaks(t)
	b := NewBind(BindConfig{Handler: newRecorder()})
	e := b.NewEndpoint(nameA, nil)
	fns, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Open(0); !errors.Is(err, conn.ErrBindAlreadyOpen) {
		t.Errorf("second Open: %v, want %v", err, conn.ErrBindAlreadyOpen)
	}
	c, addr := listenUDP(t, "127.0.0.1:0")
	e.SetPath(Path{Local: home, Remote: addr})

	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	bufs, sizes, eps := newBatch()
	for _, fn := range fns {
		if _, err := fn(bufs, sizes, eps); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a receive function of a closed Bind: %v, want net.ErrClosed", err)
		}
	}
	data := [][]byte{wireGuardMessage(4, 64)}
	if err := b.Send(data, e); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send on a closed Bind: %v, want net.ErrClosed", err)
	}

	packets, again := openBind(t, b, 0)
	if again != port || b.Port() != port {
		t.Errorf("opened on %d, Port() = %d; want %d again", again, b.Port(), port)
	}
	if err := b.Send(data, e); err != nil {
		t.Fatal(err)
	}
	to := expect(t, c, data[0])
	if _, err := c.WriteToUDPAddrPort(data[0], to); err != nil {
		t.Fatal(err)
	}
	if got := next(t, packets); got.from != e {
		t.Errorf("got a packet of %v, want %v", got.from, e)
	}
}

func TestPort(t *testing.T) {
	taken, addr := listenUDP(t, "0.0.0.0:0")
	b := NewBind(BindConfig{Handler: newRecorder(), Port: addr.Port()})
	if _, _, err := b.Open(0); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("Open on a taken port: %v, want %v", err, syscall.EADDRINUSE)
	}
	taken.Close()
	if _, port := openBind(t, b, 0); port != addr.Port() {
		t.Errorf("opened on %d, want the configured %d", port, addr.Port())
	}
}

// TestSealedOfAnybody: sealed datagrams come to the handler from whomever they are,
// by a relay, too.
func TestSealedOfAnybody(t *testing.T) {
	h := newRecorder()
	b := NewBind(BindConfig{Handler: h})
	bufs, sizes, eps := newBatch()
	sizes[0] = copy(bufs[0], "\xC0sealed")
	if b.accept(bufs[:1], sizes, eps, udpbatch.Arrival{From: stranger, Local: home}) {
		t.Error("something for the device")
	}
	b.Relayed(&plainRelay{}, stranger, []byte("\xC0sealed"))
	for range 2 {
		if got, want := next(t, h.calls), (call{kind: kindSealed, data: "\xC0sealed", from: stranger}); got != want {
			t.Errorf("the handler got %+v, want %+v", got, want)
		}
	}
}
