package tunnel

import (
	"encoding/binary"
	"testing"
)

// stunMessage returns a STUN message of a type with n bytes of attributes.
func stunMessage(typ uint16, n int) []byte {
	b := make([]byte, stunHeaderSize+n)
	binary.BigEndian.PutUint16(b, typ)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint32(b[4:], stunMagicCookie)
	return b
}

// wireGuardMessage returns a message of a type and a size, otherwise zero.
func wireGuardMessage(typ byte, size int) []byte {
	b := make([]byte, size)
	b[0] = typ
	return b
}

// channelData returns a ChannelData message with n bytes of data and a padding.
func channelData(channel uint16, n, pad int) []byte {
	b := make([]byte, channelHeaderSize+n+pad)
	binary.BigEndian.PutUint16(b, channel)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	return b
}

func TestClassify(t *testing.T) {
	cookieAsIndex := wireGuardMessage(1, initiationSize)
	binary.BigEndian.PutUint32(cookieAsIndex[4:], stunMagicCookie)
	wrongCookie := stunMessage(0x0001, 0)
	wrongCookie[7]++
	oddLength := append(stunMessage(0x0001, 0), 0, 0)
	oddLength[3] = 2

	tests := []struct {
		name string
		b    []byte
		want packetKind
	}{
		{"empty", nil, kindJunk},
		{"one byte", []byte{1}, kindJunk},
		{"initiation", wireGuardMessage(1, initiationSize), kindWireGuard},
		{"response", wireGuardMessage(2, responseSize), kindWireGuard},
		{"cookie reply", wireGuardMessage(3, 64), kindWireGuard},
		{"keepalive", wireGuardMessage(4, 32), kindWireGuard},
		{"initiation whose index is the magic cookie", cookieAsIndex, kindWireGuard},
		{"WireGuard cut short", wireGuardMessage(4, 31), kindJunk},
		{"WireGuard type 5", wireGuardMessage(5, 148), kindJunk},
		{"WireGuard with a reserved bit", append([]byte{4, 0, 0, 1}, make([]byte, 60)...), kindJunk},
		{"binding request", stunMessage(0x0001, 0), kindSTUN},
		{"binding success with attributes", stunMessage(0x0101, 40), kindSTUN},
		{"data indication", stunMessage(0x0017, 1200), kindSTUN},
		{"STUN cut short", stunMessage(0x0001, 8)[:24], kindJunk},
		{"STUN with a tail", append(stunMessage(0x0001, 0), 0, 0, 0, 0), kindJunk},
		{"STUN of odd length", oddLength, kindJunk},
		{"STUN without the cookie", wrongCookie, kindJunk},
		{"ChannelData", channelData(0x4000, 5, 0), kindChannelData},
		{"ChannelData padded", channelData(0x7FFF, 5, 3), kindChannelData},
		{"ChannelData empty", channelData(0x4001, 0, 0), kindChannelData},
		{"ChannelData with a tail", channelData(0x4000, 4, 4), kindJunk},
		{"ChannelData cut short", channelData(0x4000, 5, 0)[:8], kindJunk},
		{"ChannelData header cut short", []byte{0x40, 0, 0}, kindJunk},
		{"RTP", append([]byte{0x80, 0}, make([]byte, 60)...), kindJunk},
		{"sealed, lowest", []byte{0xC0}, kindSealed},
		{"sealed, highest", append([]byte{0xFF}, make([]byte, 1199)...), kindSealed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := classify(tt.b); got != tt.want {
				t.Errorf("classify(% x) = %d, want %d", tt.b[:min(len(tt.b), 24)], got, tt.want)
			}
		})
	}
}

func TestIsHandshake(t *testing.T) {
	tests := []struct {
		b    []byte
		want bool
	}{
		{wireGuardMessage(1, 148), true},
		{wireGuardMessage(2, 92), true},
		{wireGuardMessage(2, 148), false},
		{wireGuardMessage(1, 92), false},
		{wireGuardMessage(4, 148), false},
		{wireGuardMessage(3, 64), false},
		{nil, false},
	}
	for _, tt := range tests {
		if got := isHandshake(tt.b); got != tt.want {
			t.Errorf("isHandshake(%d bytes) = %v, want %v", len(tt.b), got, tt.want)
		}
	}
}

// FuzzClassify holds what the rest relies on: each kind's length claims are
// true, and first bytes decide as RFC 7983 lays them out.
func FuzzClassify(f *testing.F) {
	for _, b := range [][]byte{
		nil, stunMessage(1, 0), stunMessage(0x101, 12), channelData(0x4000, 5, 3),
		wireGuardMessage(1, 148), wireGuardMessage(4, 32), {0xC0}, {0x80, 0x60},
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k := classify(b)
		switch k {
		case kindWireGuard:
			if len(b) < 32 || b[0] < 1 || b[0] > 4 || b[1]|b[2]|b[3] != 0 {
				t.Errorf("% x is taken for WireGuard", b)
			}
		case kindSTUN:
			if b[0] > 0x3F || len(b) != 20+int(b[2])<<8+int(b[3]) {
				t.Errorf("% x is taken for STUN", b)
			}
		case kindChannelData:
			if b[0]>>6 != 1 || len(b) < 4+int(b[2])<<8+int(b[3]) {
				t.Errorf("% x is taken for ChannelData", b)
			}
		case kindSealed:
			if b[0] < 0xC0 {
				t.Errorf("% x is taken for sealed", b)
			}
		}
		if isHandshake(b) && k != kindWireGuard {
			t.Errorf("% x is a handshake message, but %d", b, k)
		}
	})
}
