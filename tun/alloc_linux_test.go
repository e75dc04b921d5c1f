//go:build !race

package tun

import (
	"os"
	"slices"
	"testing"
	"time"
)

// batch is 45 packets of a transfer, as one Write takes them.
func batch(offset int) (out, in [][]byte, sizes []int) {
	for _, p := range (&flow{options: 12}).run(45, 1388) {
		out = append(out, append(make([]byte, offset, 65535), p...))
	}
	for range 128 {
		in = append(in, make([]byte, 65535))
	}
	return out, in, make([]int, 128)
}

// The race detector makes sync.Pool forget on purpose; so this holds without.
func TestNoAllocations(t *testing.T) {
	for _, plain := range []bool{false, true} {
		a, b := virtualPair(t, plain)
		must(t, b.file.SetReadDeadline(time.Now().Add(time.Minute)))
		out, in, sizes := batch(16)
		first := slices.Clone(out[0])
		got := testing.AllocsPerRun(100, func() {
			copy(out[0], first)
			roundTrip(t, a, b, out, in, sizes)
		})
		if got != 0 {
			t.Errorf("plain %v: %v allocations a batch, want none", plain, got)
		}
	}
}

func roundTrip(t testing.TB, a, b *device, out, in [][]byte, sizes []int) {
	if _, err := a.Write(out, 16); err != nil {
		t.Fatal(err)
	}
	for left := len(out); left > 0; {
		n, err := b.Read(in, sizes, 16)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		left -= n
	}
}

// BenchmarkMerge gives the kernel (here: nobody) batches of a transfer.
func BenchmarkMerge(b *testing.B) {
	file, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	must(b, err)
	defer file.Close()
	d, err := wrap(file, "null", false)
	must(b, err)
	out, _, _ := batch(16)
	first := slices.Clone(out[0]) // Write makes its headers those of all
	b.SetBytes(int64(len(out) * (len(out[0]) - 16)))
	b.ReportAllocs()
	for b.Loop() {
		copy(out[0], first)
		if _, err := d.Write(out, 16); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(len(out)*b.N), "ns/packet")
}

// BenchmarkSplit cuts super-packets of a transfer.
func BenchmarkSplit(b *testing.B) {
	packets, in, sizes := batch(0)
	h, _ := parse(packets[0])
	const segment = 1388
	super := append([]byte(nil), packets[0]...)
	for _, p := range packets[1:] {
		super = append(super, p[h.size:]...)
	}
	s := newSplitter(len(in))
	s.head, s.segment = h.size, segment
	b.SetBytes(int64(len(super)))
	b.ReportAllocs()
	for b.Loop() {
		s.virtio.describe(h, segment)
		s.layout(in, 16)
		copy(in[0][16:], super[:h.size])
		if n, err := s.split(in, sizes, 16, virtioSize+len(super)); n != len(packets) || err != nil {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(len(packets)*b.N), "ns/packet")
}
