package peer

import (
	"encoding/binary"

	"github.com/pion/stun/v4"
)

// The STUN header (RFC 8489 section 5), and what is read of it in place
// before a packet is worth copying:
//
//	 0                   1                   2                   3
//	|0 0|  method and class         |   length, multiple of 4       |
//	|                  magic cookie 0x2112A442                      |
//	|                  transaction ID, 12 bytes                     |
const (
	stunHeader = 20
	stunCookie = 0x2112A442

	bindingRequest  = 0x0001
	bindingSuccess  = 0x0101
	bindingError    = 0x0111
	dataIndication  = 0x0017
	channelDataMin  = 0x40 // first byte of ChannelData: 0x40 to 0x7f (RFC 7983)
	channelDataMax  = 0x7f
	wireGuardMaxMsg = 4 // WireGuard's messages begin with 1..4 and three zeros
)

type transactionID [stun.TransactionIDSize]byte

// isSTUN says whether b is one whole STUN message. What begins like a
// WireGuard message never is.
func isSTUN(b []byte) bool {
	if len(b) < stunHeader || b[0] >= 0x40 || binary.BigEndian.Uint32(b[4:]) != stunCookie {
		return false
	}
	if b[0] >= 1 && b[0] <= wireGuardMaxMsg && b[1] == 0 && b[2] == 0 && b[3] == 0 {
		return false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	return n%4 == 0 && n == len(b)-stunHeader
}

// isChannelData says whether b looks like RFC 8656 ChannelData.
func isChannelData(b []byte) bool {
	return len(b) >= 4 && b[0] >= channelDataMin && b[0] <= channelDataMax
}

func stunType(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

func stunTransaction(b []byte) transactionID { return transactionID(b[8:stunHeader]) }

// attrPadding makes a check as long as a datagram that is to be tried. It comes
// first of all attributes, to be told in place. RFC 5780 section 7.6 has the
// same as 0x0026, which those who do not know it must refuse; this is from the
// range that they ignore (RFC 8489 section 14).
const attrPadding = 0xC0DF

// isPadded says whether b, if isSTUN accepts it, is a padded check.
func isPadded(b []byte) bool { return isCheckWith(b, attrPadding) }

// isCheckWith says whether b, if isSTUN accepts it, is a check that begins with an
// attribute.
func isCheckWith(b []byte, attribute uint16) bool {
	return len(b) >= stunHeader+4 && stunType(b) == bindingRequest && binary.BigEndian.Uint16(b[stunHeader:]) == attribute
}

// stunUsername finds the USERNAME (RFC 8489 section 14.3) of a message that
// isSTUN accepts; nil when it has none.
func stunUsername(b []byte) []byte {
	for b = b[stunHeader:]; len(b) >= 4; {
		typ, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		b = b[4:]
		if n > len(b) {
			return nil
		}
		if stun.AttrType(typ) == stun.AttrUsername {
			return b[:n]
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}
