package udpbatch

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"
)

// homes are where tests listen: both families.
var homes = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}

func listen(t testing.TB, a netip.Addr) *Conn {
	t.Helper()
	group, err := Listen(netip.AddrPortFrom(a, 0), 1)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Skipf("no %v here: %v", a, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { group[0].Close() })
	group[0].SetBuffers(4 << 20)
	return group[0]
}

func at(c *Conn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// pattern is a datagram that tells its number in every byte's place.
func pattern(number, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(number*31 + i*7)
	}
	return b
}

// receive reads n datagrams, wherever they are from.
func receive(t testing.TB, c *Conn, n int) (got [][]byte) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for len(got) < n {
		b, err := c.ReadBatch()
		if err != nil {
			t.Fatalf("after %d of %d: %v", len(got), n, err)
		}
		for {
			d, _, ok := b.Next()
			if !ok {
				break
			}
			got = append(got, slices.Clone(d))
		}
		b.Release()
	}
	return got
}

// Whatever the way and the family, what comes in is what was sent, datagram by
// datagram.
func TestWriteRun(t *testing.T) {
	tests := []struct {
		name  string
		sizes []int
	}{
		{"one", []int{100}},
		{"an empty one", []int{0}},
		{"equal", slices.Repeat([]int{1280}, 40)},
		{"short tail", append(slices.Repeat([]int{1000}, 5), 7)},
		{"as many as go", slices.Repeat([]int{9}, MaxSegments)},
		{"as large as goes", slices.Repeat([]int{9000}, 7)},
		{"the largest one", []int{65507 - 20}},
	}
	for _, home := range homes {
		for _, singly := range []bool{false, true} {
			in, out := listen(t, home), listen(t, home)
			if singly {
				out.NoGSO()
			}
			for _, tt := range tests {
				t.Run(fmt.Sprintf("%s to %v, singly %v", tt.name, home, singly), func(t *testing.T) {
					r := NewRun()
					r.Reset(at(in))
					var want [][]byte
					for i, size := range tt.sizes {
						d := pattern(i, size)
						want = append(want, d)
						if !r.Fits(size) {
							t.Fatalf("datagram %d does not fit", i)
						}
						head := min(4, size)
						if i%3 == 0 {
							head = 0
						}
						r.Append(slices.Clone(d[:head]), d[head:])
					}
					if n, err := out.WriteRun(r); n != len(want) || err != nil {
						t.Fatalf("sent %d of %d: %v", n, len(want), err)
					}
					if got := receive(t, in, len(want)); !slices.EqualFunc(got, want, bytes.Equal) {
						t.Errorf("%d datagrams differ", len(got))
					}
					if out.GSO() == singly {
						t.Error("the way has changed")
					}
				})
			}
		}
	}
}

// What lies in one piece is sent as one, and pieces may end within a datagram.
func TestPieces(t *testing.T) {
	in, out := listen(t, homes[0]), listen(t, homes[0])
	out.NoGSO()
	memory := pattern(1, 300)
	r := NewRun()
	r.Reset(at(in))
	r.Append(nil, memory[:100])
	r.Append(memory[100:104], memory[104:200])
	r.Append(slices.Clone(memory[200:230]), memory[230:300])
	if len(r.parts) != 3 || len(r.parts[0]) != 200 {
		t.Errorf("%d pieces, want 3", len(r.parts))
	}
	if _, err := out.WriteRun(r); err != nil {
		t.Fatal(err)
	}
	if got := bytes.Join(receive(t, in, 3), nil); !bytes.Equal(got, memory) {
		t.Error("the bytes differ")
	}
}

func TestFits(t *testing.T) {
	r := NewRun()
	r.Reset(netip.AddrPort{})
	add := func(n int) bool {
		if !r.Fits(n) {
			return false
		}
		r.Append(nil, make([]byte, n))
		return true
	}
	for i, step := range []struct {
		n    int
		want bool
	}{{100, true}, {101, false}, {0, false}, {100, true}, {99, true}, {99, false}, {100, false}} {
		if got := add(step.n); got != step.want {
			t.Errorf("step %d: %d bytes fit: %v", i, step.n, got)
		}
	}
	if r.Len() != 3 || r.Size() != 100 || r.Bytes(2) != 200 || r.Bytes(3) != 299 {
		t.Errorf("%d datagrams of %d, %d in all", r.Len(), r.Size(), r.Bytes(3))
	}
	for _, tt := range []struct{ size, want int }{{1, MaxSegments}, {9000, 7}, {1284, 51}, {40000, 1}, {0, 1}} {
		r.Reset(netip.AddrPort{})
		n := 0
		for add(tt.size) {
			n++
		}
		if n != tt.want {
			t.Errorf("%d datagrams of %d bytes fit, want %d", n, tt.size, tt.want)
		}
	}
}

// A group's sockets share an address, a sender stays with one, and nobody else
// comes in.
func TestListen(t *testing.T) {
	for _, home := range homes {
		listen(t, home)
		group, err := Listen(netip.AddrPortFrom(home, 0), 4)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			for _, c := range group {
				c.Close()
			}
		}()
		for _, n := range []int{1, 2} {
			if again, err := Listen(at(group[0]), n); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("%d more sockets: %v, %v", n, again, err)
			}
		}
		used := make(map[*Conn]bool)
		for n := range 50 {
			sender := listen(t, home)
			var first *Conn
			for range 3 {
				sender.WriteToUDPAddrPort(pattern(n, 10), at(group[0]))
				c := whichHas(t, group)
				if first != nil && c != first {
					t.Error("a sender came to two sockets")
				}
				first = c
			}
			used[first] = true
		}
		if len(used) != len(group) {
			t.Errorf("%d of %d sockets used", len(used), len(group))
		}
	}
}

func whichHas(t *testing.T, group []*Conn) *Conn {
	t.Helper()
	for range 1000 {
		for _, c := range group {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if b, err := c.ReadBatch(); err == nil {
				b.Release()
				return c
			}
		}
	}
	t.Fatal("nothing came")
	return nil
}

// A closed socket ends reads and writes with the error to look for.
func TestClosed(t *testing.T) {
	c := listen(t, homes[0])
	done := make(chan error)
	go func() {
		_, err := c.ReadBatch()
		done <- err
	}()
	r := NewRun()
	r.Reset(at(c))
	r.Append(nil, []byte("x"))
	c.Close()
	if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.ReadBatch(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("another read: %v", err)
	}
	for range 2 {
		if n, err := c.WriteRun(r); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("sent %d, %v", n, err)
		}
		r.Append(nil, []byte("y"))
	}
}

// BenchmarkRun sends and receives runs of 50 datagrams of 1,280 bytes.
func BenchmarkRun(b *testing.B) {
	in, out := listen(b, homes[0]), listen(b, homes[0])
	r := NewRun()
	data := pattern(1, 50*1280)
	for _, gso := range []bool{true, false} {
		b.Run(fmt.Sprintf("gso=%v", gso), func(b *testing.B) {
			if !gso {
				out.NoGSO()
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				roundTrip(b, in, out, r, data)
			}
		})
	}
}

func roundTrip(t testing.TB, in, out *Conn, r *Run, data []byte) {
	r.Reset(at2(in))
	for d := data; len(d) > 0; d = d[1280:] {
		r.Append(nil, d[:1280])
	}
	if _, err := out.WriteRun(r); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < 50; {
		batch, err := in.ReadBatch()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, _, ok := batch.Next(); !ok {
				break
			}
			n++
		}
		batch.Release()
	}
}

// at2 is at without an allocation for the same socket again.
func at2(c *Conn) netip.AddrPort {
	if lastAt.c != c {
		lastAt.c, lastAt.at = c, at(c)
	}
	return lastAt.at
}

var lastAt struct {
	c  *Conn
	at netip.AddrPort
}
