package tunnel

import "encoding/binary"

// packetKind is what a datagram on the shared port is, told by its first bytes.
//
// RFC 7983 section 7 shares a port by the first byte; WireGuard and our sealed
// datagrams take their place in its gaps:
//
//	first byte       rest                              kind
//	0x01..0x04       00 00 00, 32 bytes or more        WireGuard
//	0x00..0x3F       length, magic cookie (RFC 8489)   STUN
//	0x40..0x7F       channel, length (RFC 8656)        TURN ChannelData
//	0xC0..0xFF       anything                          sealed datagram
//	else             anything                          junk
//
// The first two rows overlap only in theory: a STUN message that begins like
// WireGuard would have type 0x0100..0x0400 and length 0, and no STUN method is
// encoded so. WireGuard therefore wins.
type packetKind uint8

const (
	kindJunk packetKind = iota
	kindWireGuard
	kindSTUN
	kindChannelData
	kindSealed
)

const (
	stunHeaderSize    = 20         // RFC 8489 section 5
	stunMagicCookie   = 0x2112A442 // RFC 8489 section 5
	channelHeaderSize = 4          // RFC 8656 section 12.4
)

// WireGuard message types and sizes in bytes (WireGuard paper, section 5.4).
const (
	typeInitiation = 1
	typeResponse   = 2
	typeTransport  = 4

	initiationSize = 148
	responseSize   = 92
	transportMin   = 32 // an empty transport message, the smallest of all
)

// classify tells what b is. It allocates nothing and keeps nothing.
func classify(b []byte) packetKind {
	switch {
	case isWireGuard(b):
		return kindWireGuard
	case len(b) == 0:
		return kindJunk
	case b[0] < 0x40 && isSTUN(b):
		return kindSTUN
	case b[0] >= 0x40 && b[0] <= 0x7F && isChannelData(b):
		return kindChannelData
	case b[0] >= 0xC0:
		return kindSealed
	}
	return kindJunk
}

// isWireGuard reports whether b has a WireGuard header: a type of 1 to 4, then
// three reserved zero bytes.
func isWireGuard(b []byte) bool {
	if len(b) < transportMin {
		return false
	}
	t := binary.LittleEndian.Uint32(b)
	return t >= typeInitiation && t <= typeTransport
}

// isHandshake reports whether b is a WireGuard initiation or response.
func isHandshake(b []byte) bool {
	switch len(b) {
	case initiationSize:
		return isWireGuard(b) && b[0] == typeInitiation
	case responseSize:
		return isWireGuard(b) && b[0] == typeResponse
	}
	return false
}

// isSTUN reports whether b is exactly one STUN message with the magic cookie.
// Over UDP a message fills its datagram (RFC 8489 section 6.2.1), and its
// attributes are padded to four bytes (section 14).
func isSTUN(b []byte) bool {
	if len(b) < stunHeaderSize || binary.BigEndian.Uint32(b[4:]) != stunMagicCookie {
		return false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	return n%4 == 0 && stunHeaderSize+n == len(b)
}

// isChannelData reports whether b is one ChannelData message, padded to four
// bytes or not (RFC 8656 section 12.5: over UDP either is allowed).
func isChannelData(b []byte) bool {
	if len(b) < channelHeaderSize {
		return false
	}
	pad := len(b) - channelHeaderSize - int(binary.BigEndian.Uint16(b[2:]))
	return pad >= 0 && pad < 4
}
