package tun

import (
	"bytes"
	"slices"
	"testing"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

// sized is a device that has one packet of each of its sizes, in buffers full
// of what was there before.
type sized struct {
	wgtun.Device
	sizes []int
}

func (s sized) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for i, n := range s.sizes {
		copy(bufs[i], bytes.Repeat([]byte{0xee}, len(bufs[i])))
		sizes[i] = copy(bufs[i][offset:], bytes.Repeat([]byte{1}, n))
	}
	return len(s.sizes), nil
}

func TestPadding(t *testing.T) {
	p := newPadded(sized{sizes: []int{1, 16, 1265, 1280, 1281, 1419, 8940}})
	read := func() []int {
		const offset = 16
		bufs, sizes := make([][]byte, 8), make([]int, 8)
		for i := range bufs {
			bufs[i] = make([]byte, offset+9000)
		}
		n, err := p.Read(bufs, sizes, offset)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range bufs[:n] {
			packet := b[offset : offset+sizes[i]]
			if len(bytes.Trim(bytes.TrimRight(packet, "\x00"), "\x01")) != 0 {
				t.Errorf("packet %d is padded with % x", i, packet[p.Device.(sized).sizes[i]:])
			}
		}
		return sizes[:n]
	}
	if got, want := read(), []int{16, 16, 1280, 1280, 1281, 1419, 8940}; !slices.Equal(got, want) {
		t.Errorf("sizes %v, want %v", got, want)
	}
	p.lower(1276)
	p.lower(1300) // only ever down
	if got, want := read(), []int{16, 16, 1265, 1280, 1281, 1419, 8940}; !slices.Equal(got, want) {
		t.Errorf("lowered: sizes %v, want %v", got, want)
	}
}
