package tun

import (
	"encoding/binary"
	"math/bits"
)

// Internet checksums (RFC 1071). Their sums do not depend on the order of bytes
// as long as it is the same throughout, so all here is in the machine's own, as
// it stands in memory; wire16 brings a number into it.

// sum adds the 16-bit words of b to acc, an odd last byte filled up with zero.
func sum(b []byte, acc uint64) uint64 {
	var c uint64
	for len(b) >= 64 {
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b), 0)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b[8:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b[16:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b[24:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b[32:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b[40:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b[48:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b[56:]), c)
		acc += c
		b = b[64:]
	}
	for len(b) >= 8 {
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b), 0)
		acc += c
		b = b[8:]
	}
	var rest [8]byte
	copy(rest[:], b)
	acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(rest[:]), 0)
	return acc + c
}

// fold brings a sum down to 16 bits.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc)
}

// wire16 is v as it stands in a packet.
func wire16(v uint16) uint64 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return uint64(binary.NativeEndian.Uint16(b[:]))
}

// putSum stores what sum and fold have made.
func putSum(b []byte, v uint16) { binary.NativeEndian.PutUint16(b, v) }
