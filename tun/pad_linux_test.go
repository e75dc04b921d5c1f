package tun

import (
	"bytes"
	"slices"
	"testing"
)

func TestPadding(t *testing.T) {
	d := new(device)
	d.padding.Store(BaseMTU)
	lengths := []int{1, 16, 1265, 1280, 1281, 1419, 8940}
	pad := func() []int {
		const offset = 16
		bufs, sizes := make([][]byte, len(lengths)), slices.Clone(lengths)
		for i, n := range lengths {
			bufs[i] = bytes.Repeat([]byte{0xee}, offset+9000)
			copy(bufs[i][offset:], bytes.Repeat([]byte{1}, n))
		}
		d.pad(bufs, sizes, offset)
		for i, b := range bufs {
			if added := b[offset:][:sizes[i]][lengths[i]:]; len(bytes.Trim(added, "\x00")) != 0 {
				t.Errorf("packet %d is padded with % x", i, added)
			}
		}
		return sizes
	}
	if got, want := pad(), []int{16, 16, 1280, 1280, 1281, 1419, 8940}; !slices.Equal(got, want) {
		t.Errorf("sizes %v, want %v", got, want)
	}
	d.lowerPadding(1276)
	d.lowerPadding(1300) // only ever down
	if got, want := pad(), []int{16, 16, 1265, 1280, 1281, 1419, 8940}; !slices.Equal(got, want) {
		t.Errorf("lowered: sizes %v, want %v", got, want)
	}
}
