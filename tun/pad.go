package tun

import (
	"sync/atomic"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

// padTo is the multiple that WireGuard pads packets to (whitepaper, section
// 5.4.6), to say less about their length.
const padTo = 16

// padded is a device that pads what is read from it, as long as that stays
// within what every path carries. WireGuard itself would pad up to the MTU of
// the device, but here each peer has its own.
type padded struct {
	wgtun.Device
	max atomic.Int32 // length in bytes above which packets stay as they are
}

func newPadded(d wgtun.Device) *padded {
	p := &padded{Device: d}
	p.max.Store(BaseMTU)
	return p
}

// lower makes max the most that padding leads to, unless it is lower already.
func (p *padded) lower(max int) {
	for {
		old := p.max.Load()
		if int(old) <= max || p.max.CompareAndSwap(old, int32(max)) {
			return
		}
	}
}

// MTU returns 1: by that WireGuard adds no padding of its own.
func (p *padded) MTU() (int, error) { return 1, nil }

// Read is the device's, with padding. The buffers have room for it, since
// WireGuard's do for every packet there can be.
func (p *padded) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n, err := p.Device.Read(bufs, sizes, offset)
	for i := range n {
		size := (sizes[i] + padTo - 1) &^ (padTo - 1)
		if size > int(p.max.Load()) || offset+size > len(bufs[i]) {
			continue
		}
		clear(bufs[i][offset+sizes[i] : offset+size])
		sizes[i] = size
	}
	return n, err
}
