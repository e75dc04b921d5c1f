package tunnel

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
)

// countingHandler is a Handler that costs nothing.
type countingHandler struct{ relay *channelRelay }

func (*countingHandler) STUN([]byte, netip.Addr, netip.AddrPort) {}
func (h *countingHandler) Channel(uint16, netip.AddrPort) (Relay, netip.AddrPort, bool) {
	return h.relay, h.relay.peer, true
}
func (*countingHandler) Datagram([]byte, Relay, netip.AddrPort, *Endpoint) {}

// loop is a socket that a test reads itself.
type loop struct {
	socket *socket
	port   uint16
}

// newLoop returns such a socket, and an open Bind that nobody reads to send to
// it. No goroutine disturbs what is measured.
func newLoop(t testing.TB) (loop, *Bind) {
	t.Helper()
	v4, v6, port, err := openSockets(0, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSockets(v4, v6) })
	b := NewBind(BindConfig{Handler: &countingHandler{}})
	if _, _, err := b.Open(0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return loop{v4, port}, b
}

func BenchmarkClassify(b *testing.B) {
	b.ReportAllocs()
	data, stun := wireGuardMessage(4, 1400), stunMessage(1, 40)
	for b.Loop() {
		classify(data)
		classify(stun)
	}
}

// BenchmarkAccept sorts a joined run of 64 packets of one of 1,000 peers.
func BenchmarkAccept(b *testing.B) {
	bind := NewBind(BindConfig{Handler: &countingHandler{}})
	from := make([]netip.AddrPort, 1000)
	for i := range from {
		e := bind.NewEndpoint(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), nil)
		for port := range uint16(10) {
			from[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 40000+port)
			e.AddSource(nil, from[i])
		}
	}
	bufs, sizes, eps := newBatch()
	for i, p := range dataPackets(slices.Repeat([]int{1400}, 64)) {
		sizes[i] = copy(bufs[i], p)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if !bind.accept(bufs[:64], sizes, eps, udpbatch.Arrival{From: from[n%1000], Local: home, Interface: 1}) {
			b.Fatal("nothing for the device")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*b.N), "ns/packet")
}

// BenchmarkAddSource claims an address in a node of 1,000 peers with ten each.
func BenchmarkAddSource(b *testing.B) {
	bind := NewBind(BindConfig{Handler: &countingHandler{}})
	list := make([]*Endpoint, 1000)
	for i := range list {
		list[i] = bind.NewEndpoint(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), nil)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		i := n / 10 % 1000
		list[i].AddSource(nil, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, byte(n % 7), byte(i >> 8), byte(i)}), uint16(40000+n%10)))
	}
}

// BenchmarkLoopback sends batches of 64 packets of 1,400 bytes through the
// kernel and reads them: directly, and as ChannelData.
func BenchmarkLoopback(b *testing.B) {
	for _, relayed := range []bool{false, true} {
		b.Run(map[bool]string{false: "direct", true: "relayed"}[relayed], func(b *testing.B) {
			in, out := newLoop(b)
			to := netip.AddrPortFrom(home, in.port)
			e, path := out.NewEndpoint(nameA, nil), Path{Local: home, Remote: to}
			if relayed {
				path = Path{Remote: stranger, Relay: &channelRelay{server: to, peer: stranger, number: 0x4001}}
			}
			e.SetPath(path)
			batch := dataPackets(slices.Repeat([]int{1400}, 64))
			bufs, sizes, _ := newBatch()
			b.SetBytes(64 * 1400)
			b.ReportAllocs()
			for b.Loop() {
				if err := out.Send(batch, e); err != nil {
					b.Fatal(err)
				}
				for got := 0; got < 64; {
					n, _, err := in.socket.ReadInto(bufs, sizes)
					if err != nil {
						b.Fatal(err)
					}
					got += n
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*b.N), "ns/packet")
		})
	}
}

func BenchmarkRelayed(b *testing.B) {
	bind, r := NewBind(BindConfig{Handler: &countingHandler{}}), &plainRelay{}
	bind.NewEndpoint(nameA, nil).AddSource(r, stranger)
	receive := bind.receiveRelayed(make(chan struct{}))
	bufs, sizes, eps := newBatch()
	data := wireGuardMessage(4, 1400)
	b.ReportAllocs()
	for b.Loop() {
		for range 64 {
			bind.Relayed(r, stranger, data)
		}
		if n, err := receive(bufs, sizes, eps); n != 64 {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*b.N), "ns/packet")
}
