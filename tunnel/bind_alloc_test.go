//go:build !race

package tunnel

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
	"github.com/p2ptun/p2ptun/peer"
)

// The race detector makes sync.Pool forget on purpose; so these hold without.

// TestNoAllocations holds the promise at the tops of bind_send.go and
// bind_receive.go.
func TestNoAllocations(t *testing.T) {
	_, addr := listenUDP(t, "127.0.0.1:0") // nobody reads it: what overflows is dropped
	in, b := newLoop(t)
	direct, relayed, r := b.NewEndpoint(nameA, nil), b.NewEndpoint(nameB, nil), &plainRelay{}
	direct.onLarge = peer.New(peer.Config{}).Large
	direct.SetPath(Path{Local: home, Remote: addr})
	relayed.SetPath(Path{Remote: stranger, Relay: r})
	h := &countingHandler{relay: &channelRelay{server: addr, peer: stranger, number: 0x4001}}
	channel := b.NewEndpoint(home, nil)
	channel.SetPath(Path{Remote: stranger, Relay: h.relay})
	b.handler = h
	wrapped := channelData(0x4001, 1400, 0)
	copy(wrapped[channelHeaderSize:], wireGuardMessage(typeTransport, 1400))

	bufs, sizes, eps := newBatch()
	batch, small := dataPackets(slices.Repeat([]int{1400}, 64)), dataPackets([]int{96})
	spread := b.NewEndpoint(netip.MustParseAddr("fd00::c"), nil)
	spread.SetPath(Path{Local: home, Remote: addr})
	spread.Spread([]Path{{Remote: addr}, {Local: home, Remote: addr}})
	stun := stunMessage(1, 8)
	from := udpbatch.Arrival{From: addr, Local: home, Interface: 1}
	unread := NewBind(BindConfig{Handler: &countingHandler{}})
	unread.NewEndpoint(nameA, nil).AddSource(r, stranger)
	receiveRelayed := unread.receiveRelayed(make(chan struct{}))

	tests := []struct {
		name string
		f    func()
	}{
		{"sort a batch for the device", func() {
			for i, p := range batch {
				sizes[i] = copy(bufs[i], p)
			}
			b.accept(bufs[:len(batch)], sizes, eps, from)
		}},
		{"sort STUN out", func() {
			sizes[0] = copy(bufs[0], stun)
			b.accept(bufs[:1], sizes, eps, from)
		}},
		{"read from the kernel", func() {
			if err := b.SendTo(batch[0], netip.Addr{}, netip.AddrPortFrom(home, in.port)); err != nil {
				t.Error(err)
			}
			if _, _, err := in.socket.ReadInto(bufs, sizes); err != nil {
				t.Error(err)
			}
		}},
		{"send a batch direct", func() { b.Send(batch, direct) }},
		{"send one direct", func() { b.Send(batch[:1], direct) }},
		{"send a batch relayed", func() { b.Send(batch, relayed) }},
		{"send a batch on a channel", func() { b.Send(batch, channel) }},
		{"sort a relayed batch", func() {
			for i := range 64 {
				sizes[i] = copy(bufs[i], wrapped)
			}
			if !b.accept(bufs[:64], sizes, eps, from) || eps[63] != channel {
				t.Error("it is not the peer's")
			}
		}},
		{"send a small one spread", func() { b.Send(small, spread) }},
		{"send raw", func() { b.SendTo(stun, home, addr) }},
		{"send raw from anywhere", func() { b.SendTo(stun, netip.Addr{}, addr) }},
		{"take a relayed packet", func() {
			unread.Relayed(r, stranger, batch[0])
			receiveRelayed(bufs, sizes, eps)
		}},
	}
	for _, tt := range tests {
		if got := testing.AllocsPerRun(200, tt.f); got != 0 {
			t.Errorf("%s: %v allocations, want none", tt.name, got)
		}
	}
}
