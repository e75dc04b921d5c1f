package udpbatch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestReadInto: whatever the sizes were before, each datagram is in its buffer.
func TestReadInto(t *testing.T) {
	const buffers = 128
	for _, home := range homes {
		for _, joined := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, joined %v", home, joined), func(t *testing.T) {
				in, out := listen(t, home), listen(t, home)
				if !joined {
					in.Plain()
					out.Plain()
				}
				if err := in.Tell(); err != nil {
					t.Fatal(err)
				}
				in.SetReadDeadline(time.Now().Add(10 * time.Second))
				bufs, sizes := make([][]byte, buffers), make([]int, buffers)
				for i := range bufs {
					bufs[i] = make([]byte, 65535)
				}
				random := rand.New(rand.NewPCG(1, 2))
				shapes := []func() (count, size, last int){
					func() (int, int, int) { return 45, 1452, 1452 },
					func() (int, int, int) { return 45, 1452, 10 },
					func() (int, int, int) { return 1, 96, 96 },
					func() (int, int, int) { return 7, 9000, 8000 },
					func() (int, int, int) { return 1, 60000, 60000 },
					func() (int, int, int) { return MaxSegments, 33, 1 },
					func() (int, int, int) {
						size := 1 + random.IntN(3000)
						return 1 + random.IntN(min(MaxSegments, 60000/size)), size, 1 + random.IntN(size)
					},
				}
				for round := range 300 {
					count, size, last := shapes[random.IntN(len(shapes))]()
					var want [][]byte
					r := NewRun()
					r.Reset(at(in))
					for i := range count {
						n := size
						if i == count-1 {
							n = last
						}
						want = append(want, pattern(round+i, n))
						r.Append(nil, want[i])
					}
					if sent, err := out.WriteRun(r); sent != count || err != nil {
						t.Fatalf("sent %d of %d: %v", sent, count, err)
					}
					for len(want) > 0 {
						n, a, err := in.ReadInto(bufs, sizes)
						if err != nil {
							t.Fatal(err)
						}
						if a.From != at(out) || a.Local != home {
							t.Fatalf("from %v to %v", a.From, a.Local)
						}
						for i := range n {
							if len(want) == 0 || !slices.Equal(bufs[i][:sizes[i]], want[0]) {
								t.Fatalf("round %d: datagram of %d bytes, %d are left of %d of %d and %d bytes", round, sizes[i], len(want), count, size, last)
							}
							want = want[1:]
						}
					}
				}
			})
		}
	}
}

// TestSource: a run leaves from where it is told to.
func TestSource(t *testing.T) {
	home, other := homes[0], netip.MustParseAddr("127.0.0.2")
	in, out := listen(t, home), anywhere(t)
	for _, count := range []int{1, 5} {
		r := NewRun()
		r.Reset(at(in))
		r.From(Source(other, 0))
		for i := range count {
			r.Append([]byte("head"), pattern(i, 100))
		}
		if sent, err := out.WriteRun(r); sent != count || err != nil {
			t.Fatalf("sent %d: %v", sent, err)
		}
		in.SetReadDeadline(time.Now().Add(10 * time.Second))
		for got := 0; got < count; {
			b, err := in.ReadBatch()
			if err != nil {
				t.Fatal(err)
			}
			for d, from, ok := b.Next(); ok; d, from, ok = b.Next() {
				if from.Addr() != other || len(d) != 104 {
					t.Errorf("%d bytes from %v, want 104 from %v", len(d), from, other)
				}
				got++
			}
			b.Release()
		}
	}
}

func FuzzReadControl(f *testing.F) {
	f.Add(Source(homes[0], 1))
	f.Add(append(Source(homes[1], 1), make([]byte, 24)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, oob []byte) {
		readControl(oob) // must not panic
	})
}

func anywhere(t *testing.T) *Conn {
	t.Helper()
	group, err := Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), 0), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { group[0].Close() })
	return group[0]
}

// TestPatient: whoever finds the socket's buffer full is held back, and loses
// nothing. The network is a slow loopback of its own.
func TestPatient(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread and its network end with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network of its own: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err == nil {
		err = netlink.QdiscAdd(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: lo.Attrs().Index, Parent: netlink.HANDLE_ROOT},
			Rate:       4 << 20, Buffer: 64 << 10, Limit: 8 << 20,
		})
	}
	if err != nil {
		t.Skipf("no slow network: %v", err)
	}
	in, out := listen(t, homes[0]), listen(t, homes[0])
	out.SetWriteBuffer(64 << 10)
	r := NewRun()
	r.Reset(at(in))
	for i := range 20 {
		r.Append(nil, pattern(i, 1000))
	}
	sent := 0
	for {
		n, err := out.WriteRun(r)
		sent += n
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil || sent > 1000 {
			t.Fatalf("sent %d: %v", sent, err)
		}
	}
	out.Patient()
	for range 20 {
		n, err := out.WriteRun(r)
		if err != nil {
			t.Fatal(err)
		}
		sent += n
	}
	receive(t, in, sent)
}
