package behavior

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/pion/stun/v4"
)

type transaction [stun.TransactionIDSize]byte

// What a request asks the server to change (RFC 5780 section 7.2).
const (
	changePort = 0x02
	changeAddr = 0x04
)

// question is a Binding request.
type question struct {
	to     netip.AddrPort
	change uint32 // of where the answer comes from
	port   uint16 // RESPONSE-PORT: where it goes to; 0: to who asks
}

// request encodes a question under a new transaction.
func (q question) request() (transaction, []byte) {
	var id transaction
	rand.Read(id[:])
	b := binary.BigEndian.AppendUint16(nil, stun.BindingRequest.Value())
	b = append(b, 0, 0, 0x21, 0x12, 0xa4, 0x42) // the magic cookie
	b = append(b, id[:]...)
	if q.change != 0 {
		b = binary.BigEndian.AppendUint16(b, uint16(stun.AttrChangeRequest))
		b = append(b, 0, 4)
		b = binary.BigEndian.AppendUint32(b, q.change)
	}
	if q.port != 0 {
		b = binary.BigEndian.AppendUint16(b, uint16(stun.AttrResponsePort))
		b = append(b, 0, 4)
		b = binary.BigEndian.AppendUint16(b, q.port)
		b = append(b, 0, 0)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20))
	return id, b
}

// kind is what a message is, as far as it matters here.
type kind uint8

const (
	other   kind = iota
	request      // a Binding request, which only a socket of ours would send here
	success
	refusal
)

// message is a decoded STUN message.
type message struct {
	kind   kind
	id     transaction
	mapped netip.AddrPort // XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS of an old server
	origin netip.AddrPort // RESPONSE-ORIGIN
	other  netip.AddrPort // OTHER-ADDRESS
}

var errNoAddress = errors.New("behavior: an answer without a mapped address")

// decode reads a message. Addresses that are malformed are taken for missing, but a
// success without a mapped one is an error.
func decode(b []byte) (message, error) {
	m := stun.Message{Raw: append([]byte(nil), b...)}
	if err := m.Decode(); err != nil {
		return message{}, err
	}
	d := message{id: m.TransactionID}
	switch m.Type {
	case stun.BindingRequest:
		d.kind = request
	case stun.BindingError:
		d.kind = refusal
	case stun.BindingSuccess:
		d.kind = success
		var x stun.XORMappedAddress
		if x.GetFrom(&m) == nil {
			d.mapped = addrPort(x.IP, x.Port)
		} else {
			d.mapped = address(&m, stun.AttrMappedAddress)
		}
		if !d.mapped.IsValid() {
			return d, errNoAddress
		}
		d.origin, d.other = address(&m, stun.AttrResponseOrigin), address(&m, stun.AttrOtherAddress)
	}
	return d, nil
}

func address(m *stun.Message, kind stun.AttrType) netip.AddrPort {
	var a stun.MappedAddress
	if a.GetFromAs(m, kind) != nil {
		return netip.AddrPort{}
	}
	return addrPort(a.IP, a.Port)
}

// addrPort is an address that something can be sent to, or zero.
func addrPort(ip net.IP, port int) netip.AddrPort {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || port <= 0 || port > 0xffff || a.IsUnspecified() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(port))
}
