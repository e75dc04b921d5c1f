package tunnel

import (
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

// sinkDevice counts what is written.
type sinkDevice struct {
	wgtun.Device
	batches, packets int
}

func (d *sinkDevice) Write(bufs [][]byte, _ int) (int, error) {
	d.batches++
	d.packets += len(bufs)
	return len(bufs), nil
}

var (
	mineAt   = netip.MustParseAddr("10.77.0.1")
	theirsAt = netip.MustParseAddr("10.77.0.2")
)

// inner is an inner packet from an address, as the device hands it to Write.
func inner(from netip.Addr, size int) []byte {
	p := make([]byte, 16+size)
	p[16] = 4 << 4
	copy(p[16+12:], from.AsSlice())
	return p
}

func atOffset(p []byte) []byte { return append(make([]byte, 16), p...) }

// Probes end in the gate, and what else is in their batch goes on; all of it shows
// that the member is heard.
func TestGateTakesProbesOut(t *testing.T) {
	own := probe(theirsAt, mineAt)
	for name, tt := range map[string]struct {
		batch   [][]byte
		packets int
	}{
		"data":               {[][]byte{inner(theirsAt, 100), inner(theirsAt, 20)}, 2},
		"a probe":            {[][]byte{atOffset(own)}, 0},
		"a probe first":      {[][]byte{atOffset(own), inner(theirsAt, 40)}, 1},
		"a probe among data": {[][]byte{inner(theirsAt, 40), atOffset(own), inner(theirsAt, 60), atOffset(own)}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			d, sink := new(door), new(sinkDevice)
			g := newGate(sink)
			doors := newDoors(1)
			doors.add(theirsAt, d)
			g.setDoors(doors)
			d.sends(time.Now())
			first := &tt.batch[0][16]
			n, err := g.Write(tt.batch, 16)
			if n != len(tt.batch) || err != nil || sink.packets != tt.packets {
				t.Errorf("%d written, %v, %d of them to the interface; want %d and %d", n, err, sink.packets, len(tt.batch), tt.packets)
			}
			if tt.packets == 0 && sink.batches > 0 {
				t.Error("an empty batch was written")
			}
			if &tt.batch[0][16] != first {
				t.Error("the device's batch was changed")
			}
			if d.heard.Load() == 0 || !d.waiting(time.Now()).IsZero() {
				t.Error("the member is not heard")
			}
		})
	}
	g := newGate(new(sinkDevice))
	if _, err := g.Write([][]byte{inner(elsewhereAt, 40)}, 16); err != nil {
		t.Error(err)
	}
}

var elsewhereAt = netip.MustParseAddr("10.77.0.9")

func TestGateWriteAllocates(t *testing.T) {
	d := new(door)
	g := newGate(new(sinkDevice))
	doors := newDoors(1)
	doors.add(theirsAt, d)
	g.setDoors(doors)
	batch := [][]byte{inner(theirsAt, 100), inner(theirsAt, 1400)}
	if got := testing.AllocsPerRun(200, func() {
		d.sends(time.Now())
		g.Write(batch, 16)
	}); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

func TestProbePacket(t *testing.T) {
	p := probe(mineAt, theirsAt)
	want := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 1, 253, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2}
	var sum uint32
	for i := 0; i < len(p); i += 2 {
		sum += uint32(p[i])<<8 | uint32(p[i+1])
	}
	if !isProbe(p) || sum&0xffff+sum>>16 != 0xffff {
		t.Errorf("% x: is probe %v, checksum adds up to %x", p, isProbe(p), sum)
	}
	want[10], want[11] = p[10], p[11]
	if string(p) != string(want) {
		t.Errorf("probe % x, want % x", p, want)
	}
	for _, not := range [][]byte{p[:19], append(append([]byte(nil), p...), 0), inner(theirsAt, 20)[16:]} {
		if isProbe(not) {
			t.Errorf("% x counts as a probe", not)
		}
	}
}

// What waits is the first packet that left after the last came, for as long as more
// follow.
func TestProofOfADoor(t *testing.T) {
	var p proof
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	waits := func(now, want int) {
		t.Helper()
		w := p.waiting(at(now))
		if want == 0 && !w.IsZero() || want > 0 && !w.Equal(at(want)) {
			t.Errorf("at %d data waits since %v, want %d", now, w, want)
		}
	}
	waits(0, 0)
	p.sends(at(1))
	p.sends(at(2))
	waits(3, 1)
	p.hears(at(4))
	waits(4, 0)
	p.sends(at(5))
	waits(9, 5)
	waits(11, 0) // nobody waits any more
	p.sends(at(12))
	waits(12, 12)
}

// A message that comes over a relay, in whichever way, marks the endpoint used and
// its source heard; one of another kind, or from another source, does not.
func TestRelayedIsHeard(t *testing.T) {
	server := netip.MustParseAddrPort("203.0.113.7:3478")
	r := &channelRelay{server: server, peer: stranger, number: 0x4001}
	h := &countingHandler{relay: r}
	data := wireGuardMessage(typeTransport, 100)
	wrapped := channelData(0x4001, len(data), 0)
	copy(wrapped[channelHeaderSize:], data)
	handshake := channelData(0x4001, initiationSize, 0)
	copy(handshake[channelHeaderSize:], wireGuardMessage(typeInitiation, initiationSize))
	accept := func(p []byte, from netip.AddrPort) func(b *Bind) {
		return func(b *Bind) {
			bufs, sizes, eps := newBatch()
			sizes[0] = copy(bufs[0], p)
			b.accept(bufs[:1], sizes, eps, udpbatch.Arrival{From: from, Local: home})
		}
	}
	for name, tt := range map[string]struct {
		come        func(b *Bind)
		used, heard bool
	}{
		"in a channel":       {accept(wrapped, server), true, true},
		"as an indication":   {func(b *Bind) { b.Relayed(r, stranger, data) }, true, true},
		"a handshake":        {accept(handshake, server), false, false},
		"straight from them": {accept(data, stranger), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBind(BindConfig{Handler: h})
			e := b.NewEndpoint(nameA, nil)
			e.AddSource(r, stranger)
			tt.come(b)
			if used, heard := e.used.Load(), e.HeardBy(r, stranger); used != tt.used || heard.IsZero() == tt.heard {
				t.Errorf("used %v, heard %v; want %v, %v", used, heard, tt.used, tt.heard)
			}
			if other := b.NewEndpoint(nameB, nil); !other.HeardBy(r, stranger).IsZero() {
				t.Error("heard for another")
			}
		})
	}
}

// Copies leave of small batches only, by each path of the spread, and bulk by the
// path alone.
func TestSpread(t *testing.T) {
	b, c := newFake()
	e := b.NewEndpoint(nameA, nil)
	path, second, third := stranger, netip.MustParseAddrPort("203.0.113.9:2000"), netip.MustParseAddrPort("203.0.113.9:3000")
	e.SetPath(Path{Remote: path})
	for name, tt := range map[string]struct {
		sizes  []int
		spread []Path
		copies int // of each packet
	}{
		"small":          {[]int{spreadSize, 32}, []Path{{Remote: second}, {Remote: third}}, 3},
		"a long packet":  {[]int{32, spreadSize + 1}, []Path{{Remote: second}}, 1},
		"many":           {[]int{32, 32, 32, 32, 32}, []Path{{Remote: second}}, 1},
		"as many as may": {[]int{32, 32, 32, 32}, []Path{{Remote: second}}, 2},
		"no spread":      {[]int{32}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e.Spread(tt.spread)
			c.sent = nil
			if err := b.Send(dataPackets(tt.sizes), e); err != nil {
				t.Fatal(err)
			}
			to := make(map[netip.AddrPort]int)
			for _, w := range c.sent {
				to[w.to]++
			}
			if len(c.sent) != tt.copies*len(tt.sizes) || to[path] != len(tt.sizes) || len(to) != tt.copies {
				t.Errorf("%v, want %d copies of %d packets", to, tt.copies, len(tt.sizes))
			}
		})
	}
}

// Heard takes the older of what the socket and what the gate knows: both must have
// seen the message.
func TestHeardIsTheOlder(t *testing.T) {
	b := NewBind(BindConfig{Handler: newRecorder()})
	e := b.NewEndpoint(nameA, nil)
	e.AddSource(nil, stranger)
	p := &passage{active: &active{member: &member{door: new(door)}, endpoint: e}}
	came := b.claims.find(claim{from: stranger})
	for _, tt := range []struct{ socket, gate, want int64 }{
		{0, 0, 0}, {5, 0, 0}, {0, 5, 0}, {5, 7, 5}, {7, 5, 5}, {6, 6, 6},
	} {
		came.heard.Store(tt.socket)
		p.door.heard.Store(tt.gate)
		got := p.Heard(nil, stranger)
		if tt.want == 0 && !got.IsZero() || tt.want > 0 && got.UnixNano() != tt.want {
			t.Errorf("socket %d, gate %d: heard %v, want %d", tt.socket, tt.gate, got, tt.want)
		}
	}
}
