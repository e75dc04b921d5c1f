package tunnel

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestSplitJoined(t *testing.T) {
	tests := []struct {
		name       string
		n, segment int
		want       []int
	}{
		{"one", 100, 0, []int{100}},
		{"one, as long as its segment", 100, 100, []int{100}},
		{"one, shorter than its segment", 99, 100, []int{99}},
		{"equal", 300, 100, []int{100, 100, 100}},
		{"short tail", 250, 100, []int{100, 100, 50}},
		{"broken control message", 100, -1, []int{100}},
		{"nothing", 0, 0, []int{0}},
		{"more than the batch", 140, 1, slices.Repeat([]int{1}, 128)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bufs, sizes, _ := newBatch()
			for i := range tt.n {
				bufs[0][i] = byte(i)
			}
			whole := slices.Clone(bufs[0][:tt.n])
			n := splitJoined(bufs, sizes, tt.n, tt.segment)
			if got := sizes[:n]; !slices.Equal(got, tt.want) {
				t.Fatalf("sizes %v, want %v", got, tt.want)
			}
			var joined []byte
			for i := range n {
				joined = append(joined, bufs[i][:sizes[i]]...)
			}
			if !bytes.HasPrefix(whole, joined) {
				t.Errorf("the parts are % x, want % x", joined, whole)
			}
		})
	}
}

func TestRunLength(t *testing.T) {
	tests := []struct {
		name  string
		sizes []int
		want  int
	}{
		{"one", []int{10}, 1},
		{"equal", []int{10, 10, 10}, 3},
		{"a shorter one ends it", []int{10, 10, 5, 5}, 3},
		{"a longer one is the next", []int{10, 20}, 1},
		{"an empty one is the next", []int{10, 0}, 1},
		{"as many as the kernel takes", slices.Repeat([]int{10}, 100), 64},
		{"as much as a datagram takes", slices.Repeat([]int{1400}, 100), 46},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var bufs [][]byte
			for _, n := range tt.sizes {
				bufs = append(bufs, make([]byte, n))
			}
			if got := runLength(bufs); got != tt.want {
				t.Errorf("runLength = %d, want %d", got, tt.want)
			}
		})
	}
}

// TestWriteRefused shows that what the kernel will not cut goes out one by one,
// and when it is asked to cut again.
func TestWriteRefused(t *testing.T) {
	batch := [][]byte{[]byte("aaa"), []byte("bbb"), []byte("cc")}
	tests := []struct {
		name    string
		refusal error
		gso     bool // afterwards
		want    []string
		fails   bool
	}{
		{"taken", nil, true, []string{"aaabbbcc"}, false},
		{"no checksum offload", syscall.EIO, false, []string{"aaa", "bbb", "cc"}, false},
		{"above the path's MTU", syscall.EINVAL, true, []string{"aaa", "bbb", "cc"}, false},
		{"above the path's MTU, newer kernels", syscall.EMSGSIZE, true, []string{"aaa", "bbb", "cc"}, false},
		{"anything else", syscall.EPERM, true, nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &fakeConn{write: func(b, _ []byte) error {
				if len(b) > 3 {
					return tt.refusal
				}
				return nil
			}}
			s := &socket{conn: c}
			s.gso.Store(true)
			if err := s.write(batch, stranger, nil); (err != nil) != tt.fails {
				t.Errorf("write: %v", err)
			}
			var got []string
			for _, w := range c.sent {
				got = append(got, w.data)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("sent %q, want %q", got, tt.want)
			}
			if s.gso.Load() != tt.gso {
				t.Errorf("gso = %v, want %v", s.gso.Load(), tt.gso)
			}
		})
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

				sent := dataPackets(slices.Repeat([]int{1400}, 100), []int{600, 1400, 1400, 32, 32})
				if err := a.Send(sent, toB); err != nil {
					t.Fatal(err)
				}
				for i, want := range sent {
					got := next(t, fromA)
					if !bytes.Equal(got.data, want) || got.from != ofA {
						t.Fatalf("packet %d: %d bytes of %v, want %d of %v", i, len(got.data), got.from, len(want), ofA)
					}
				}
			})
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
