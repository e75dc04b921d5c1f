package hub

import (
	"encoding/binary"
	"net/netip"

	"github.com/pion/stun/v4"
)

// A STUN server with NAT behavior discovery (RFC 5780 section 6) is four sockets,
// of two addresses and two ports. Their numbers are made of what a CHANGE-REQUEST
// changes, so that number XOR change is where the answer leaves from:
//
//	             first port  second port
//	public addr      0            1
//	--alt-addr       2            3
//
// With one address there are the first two.
const (
	changePort = 1
	changeAddr = 2

	// What CHANGE-REQUEST has these as (RFC 5780 section 7.2), shifted by one.
	changeMask = (changePort | changeAddr) << 1
)

// corner is one of the four sockets, as a client sees it.
type corner struct {
	open bool
	at   netip.AddrPort // zero: not known, as several addresses lead to it
}

// corners are the sockets that answer, see above.
type corners [4]corner

// bindingAnswer is what to send, from which of the sockets, to which address.
type bindingAnswer struct {
	raw  []byte
	from int
	to   netip.AddrPort
}

// bindingRequest is what a request asks for.
type bindingRequest struct {
	transaction []byte // 16 bytes, of which the first four are the magic cookie
	classic     bool   // it has none: a client of RFC 3489
	change      int
	port        uint16 // RESPONSE-PORT, 0: none
	unknown     []stun.AttrType
}

// mostUnknown are listed in an answer: more would be malice.
const mostUnknown = 8

const stunHeaderSize = 20

// isBindingRequest says whether b begins like one. What it says is not looked at.
func isBindingRequest(b []byte) bool {
	return len(b) >= stunHeaderSize && binary.BigEndian.Uint16(b) == stun.BindingRequest.Value()
}

// parseBinding reads a request. What is malformed is no request.
func parseBinding(b []byte) (r bindingRequest, ok bool) {
	if !isBindingRequest(b) || int(binary.BigEndian.Uint16(b[2:])) != len(b)-stunHeaderSize {
		return r, false
	}
	r.transaction = b[4:stunHeaderSize]
	r.classic = binary.BigEndian.Uint32(r.transaction) != stunCookie
	for b = b[stunHeaderSize:]; len(b) > 0; {
		if len(b) < 4 {
			return r, false
		}
		kind, n := stun.AttrType(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[2:]))
		padded := (n + 3) &^ 3
		if b = b[4:]; padded > len(b) || !r.take(kind, b[:n]) {
			return r, false
		}
		b = b[padded:]
	}
	return r, true
}

// stunCookie tells a message of RFC 5389 and later from one of RFC 3489.
const stunCookie = 0x2112A442

// take reads one attribute, and reports whether it is well formed.
func (r *bindingRequest) take(kind stun.AttrType, v []byte) bool {
	switch kind {
	case stun.AttrChangeRequest:
		if len(v) != 4 {
			return false
		}
		r.change = int(v[3]&changeMask) >> 1
	case stun.AttrResponsePort:
		if len(v) != 2 && len(v) != 4 || v[0]|v[1] == 0 {
			return false
		}
		r.port = binary.BigEndian.Uint16(v)
	case stun.AttrUsername, stun.AttrUserhash, stun.AttrRealm, stun.AttrNonce, stun.AttrPasswordAlgorithm,
		stun.AttrMessageIntegrity, stun.AttrMessageIntegritySHA256: // credentials, which nobody needs here
	default:
		if kind.Required() && len(r.unknown) < mostUnknown {
			r.unknown = append(r.unknown, kind)
		}
	}
	return true
}

// bindingReply is what a request that came from an address to one of the sockets is
// answered with; ok is false for all that is no Binding request.
//
// It goes to the address that asked and to no other: RESPONSE-PORT changes the port
// alone, and RFC 3489's RESPONSE-ADDRESS is refused. It says nothing that was not
// asked for but RESPONSE-ORIGIN and, where there is a second address, OTHER-ADDRESS:
// discovery begins with a request that asks for neither. That makes at most 2.1
// times the request with the headers of IP and UDP; PADDING, which would make more,
// is refused as well.
func (c *corners) bindingReply(b []byte, from netip.AddrPort, at int) (a bindingAnswer, ok bool) {
	r, ok := parseBinding(b)
	if !ok {
		return a, false
	}
	a = bindingAnswer{from: at, to: from}
	if via := at ^ r.change; c[via].open {
		a.from = via
	} else {
		r.unknown = append(r.unknown, stun.AttrChangeRequest)
	}
	if len(r.unknown) > 0 {
		a.from, a.raw = at, r.refusal()
		return a, true
	}
	if r.port != 0 {
		a.to = netip.AddrPortFrom(from.Addr(), r.port)
	}
	origin, other := c[a.from].at, c[at^changeAddr^changePort].at
	raw := r.header(stun.BindingSuccess)
	if r.classic {
		raw = appendAddress(raw, stun.AttrMappedAddress, from)
		raw = appendAddress(raw, stun.AttrSourceAddress, origin)
		raw = appendAddress(raw, stun.AttrChangedAddress, other)
	} else {
		raw = appendXORAddress(raw, stun.AttrXORMappedAddress, from)
		raw = appendAddress(raw, stun.AttrResponseOrigin, origin)
		raw = appendAddress(raw, stun.AttrOtherAddress, other)
	}
	a.raw = withLength(raw)
	return a, true
}

// refusal names the attributes that are not understood, or asked for in vain (RFC
// 8489 section 6.3.1, RFC 5780 section 6.1).
func (r *bindingRequest) refusal() []byte {
	b := r.header(stun.BindingError)
	b = binary.BigEndian.AppendUint16(b, uint16(stun.AttrErrorCode))
	b = append(b, 0, 4, 0, 0, 4, 20) // 420, without words: they would make it longer
	b = binary.BigEndian.AppendUint16(b, uint16(stun.AttrUnknownAttributes))
	b = binary.BigEndian.AppendUint16(b, uint16(2*len(r.unknown)))
	for _, kind := range r.unknown {
		b = binary.BigEndian.AppendUint16(b, uint16(kind))
	}
	if len(r.unknown)%2 == 1 {
		b = append(b, 0, 0)
	}
	return withLength(b)
}

// header begins a message of the request's transaction; withLength ends it.
func (r *bindingRequest) header(kind stun.MessageType) []byte {
	b := make([]byte, 0, 128)
	b = binary.BigEndian.AppendUint16(b, kind.Value())
	return append(append(b, 0, 0), r.transaction...)
}

func withLength(b []byte) []byte {
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeaderSize))
	return b
}

// appendAddress adds an address attribute (RFC 8489 section 14.1), if there is an
// address.
func appendAddress(b []byte, kind stun.AttrType, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	family := byte(1)
	if a.Addr().Is6() {
		family = 2
	}
	b = binary.BigEndian.AppendUint16(b, uint16(kind))
	b = append(b, 0, byte(4+a.Addr().BitLen()/8), 0, family)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	return append(b, a.Addr().AsSlice()...)
}

// appendXORAddress is appendAddress with the value masked by the cookie and the
// transaction, so that no NAT finds an address to translate (RFC 8489 section 14.2).
func appendXORAddress(b []byte, kind stun.AttrType, a netip.AddrPort) []byte {
	begin := len(b)
	b = appendAddress(b, kind, a)
	value, mask := b[begin+6:], b[4:stunHeaderSize]
	for i := range value {
		if i < 2 {
			value[i] ^= mask[i]
		} else {
			value[i] ^= mask[i-2]
		}
	}
	return b
}
