package tunnel

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestBufferSize(t *testing.T) {
	for memory, want := range map[uint64]int{
		0: 7 << 20, 32 << 20: 1 << 20, 128 << 20: 2 << 20, 256 << 20: 4 << 20, 1 << 30: 7 << 20, 1 << 40: 7 << 20,
	} {
		if got := bufferSize(memory); got != want {
			t.Errorf("%d MiB of memory: buffers of %d bytes, want %d", memory>>20, got, want)
		}
	}
}

// TestBatchOverLoopback sends batches between two Binds through the kernel,
// joined and not.
func TestBatchOverLoopback(t *testing.T) {
	for _, noGSO := range []bool{false, true} {
		for _, ip := range []string{"127.0.0.1", "::1"} {
			t.Run(fmt.Sprintf("%s/noGSO=%v", ip, noGSO), func(t *testing.T) {
				checkLeaks(t)
				listenUDP(t, netip.AddrPortFrom(netip.MustParseAddr(ip), 0).String())
				a := NewBind(BindConfig{Handler: newRecorder(), NoGSO: noGSO})
				b := NewBind(BindConfig{Handler: newRecorder(), NoGSO: noGSO})
				_, portA := openBind(t, a, 0)
				fromA, portB := openBind(t, b, 0)
				toB, ofA := a.NewEndpoint(nameB, nil), b.NewEndpoint(nameA, nil)
				toB.SetPath(Path{Remote: netip.AddrPortFrom(netip.MustParseAddr(ip), portB)})
				ofA.AddSource(nil, netip.AddrPortFrom(netip.MustParseAddr(ip), portA))

				exchangeBatch(t, a, toB, fromA, ofA)
			})
		}
	}
}

// exchangeBatch sends packets of several sizes to an endpoint of a's, and has them
// come out of the other side in order, as they were, and from the peer.
func exchangeBatch(t *testing.T, a *Bind, to *Endpoint, packets <-chan packet, from *Endpoint) {
	t.Helper()
	sent := dataPackets(slices.Repeat([]int{1400}, 100), []int{600, 1400, 1400, 32, 32})
	if err := a.Send(sent, to); err != nil {
		t.Fatal(err)
	}
	for i, want := range sent {
		got := next(t, packets)
		if !bytes.Equal(got.data, want) || got.from != from {
			t.Fatalf("packet %d: %d bytes of %v, want %d of %v", i, len(got.data), got.from, len(want), from)
		}
	}
}

// TestChannelOverLoopback: what leaves on a channel comes to the peer as it was,
// and what else a relay wraps comes to the handler as it came.
func TestChannelOverLoopback(t *testing.T) {
	for _, noGSO := range []bool{false, true} {
		for _, ip := range []string{"127.0.0.1", "::1"} {
			t.Run(fmt.Sprintf("%s/noGSO=%v", ip, noGSO), func(t *testing.T) {
				checkLeaks(t)
				self := netip.MustParseAddr(ip)
				listenUDP(t, netip.AddrPortFrom(self, 0).String())
				h := newRecorder()
				a := NewBind(BindConfig{Handler: newRecorder(), NoGSO: noGSO})
				b := NewBind(BindConfig{Handler: h, NoGSO: noGSO})
				_, portA := openBind(t, a, 0)
				h.relay = &channelRelay{server: netip.AddrPortFrom(self, portA), peer: stranger, number: 0x4001}
				fromA, portB := openBind(t, b, 0)
				toB, ofA := a.NewEndpoint(nameB, nil), b.NewEndpoint(nameA, nil)
				toB.SetPath(Path{Remote: stranger, Relay: &channelRelay{
					server: netip.AddrPortFrom(self, portB), peer: stranger, number: 0x4001,
				}})
				ofA.AddSource(h.relay, stranger)

				exchangeBatch(t, a, toB, fromA, ofA)
				for _, others := range [][]byte{stunMessage(1, 8), []byte("\x80junk")} {
					if err := a.Send([][]byte{others}, toB); err != nil {
						t.Fatal(err)
					}
					if got := next(t, h.calls); got.kind != kindChannelData || got.data[channelHeaderSize:] != string(others) {
						t.Errorf("the handler got %+v of % x", got, others)
					}
				}
				if err := a.Send([][]byte{[]byte("\xC0sealed")}, toB); err != nil {
					t.Fatal(err)
				}
				if got := next(t, h.calls); got != (call{kind: kindSealed, data: "\xC0sealed", from: ofA.name}) {
					t.Errorf("the handler got %+v", got)
				}
			})
		}
	}
}

// TestStrangersChannel: ChannelData on a channel that is none is the handler's.
func TestStrangersChannel(t *testing.T) {
	h := newRecorder()
	b := NewBind(BindConfig{Handler: h})
	h.relay = &channelRelay{server: stranger, peer: stranger, number: 0x4001}
	b.NewEndpoint(nameA, nil).AddSource(h.relay, stranger)
	other := netip.AddrPortFrom(stranger.Addr(), 1)
	for _, tt := range []struct {
		number uint16
		from   netip.AddrPort
		ours   bool
	}{{0x4001, stranger, true}, {0x4002, stranger, false}, {0x4001, other, false}} {
		p := channelData(tt.number, 64, 0)
		copy(p[channelHeaderSize:], wireGuardMessage(typeTransport, 64))
		if got := arrive(b, slices.Clone(p), tt.from); got != tt.ours {
			t.Errorf("channel %#x from %v: for the device %v, want %v", tt.number, tt.from, got, tt.ours)
		}
		if !tt.ours {
			if got := next(t, h.calls); got.data != string(p) {
				t.Errorf("the handler got %+v", got)
			}
		}
	}
}

// dataPackets returns WireGuard transport messages of given sizes, all
// different.
func dataPackets(sizes ...[]int) (list [][]byte) {
	for i, n := range slices.Concat(sizes...) {
		p := wireGuardMessage(typeTransport, n)
		p[4], p[n-1] = byte(i), byte(i)
		list = append(list, p)
	}
	return list
}

// TestFamiliesInTurn sends to IPv4 and IPv6 from one Bind in turn: neither
// address may leak into the other's.
func TestFamiliesInTurn(t *testing.T) {
	checkLeaks(t)
	c4, addr4 := listenUDP(t, "127.0.0.1:0")
	c6, addr6 := listenUDP(t, "[::1]:0")
	b := NewBind(BindConfig{Handler: newRecorder()})
	_, port := openBind(t, b, 0)
	for i := range 4 {
		p := []byte(strings.Repeat("x", i+1))
		if err := b.SendTo(p, netip.Addr{}, addr4); err != nil {
			t.Fatal(err)
		}
		if err := b.SendTo(p, netip.Addr{}, addr6); err != nil {
			t.Fatal(err)
		}
		for _, from := range []netip.AddrPort{expect(t, c4, p), expect(t, c6, p)} {
			if from.Port() != port {
				t.Errorf("sent from %v, want port %d", from, port)
			}
		}
	}
}
