package signaling

import (
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
)

const joinVersion = 1

// marshal makes the body of a request:
//
//	version (1) ‖ ticket hash (32) ‖ name (1+n) ‖ node key (32)
//	‖ WireGuard key (32) ‖ sealing key (1216)
func (r *JoinRequest) marshal() []byte {
	b := cryptobyte.NewBuilder([]byte{joinVersion})
	b.AddBytes(r.Invite[:])
	addString(b, r.Name)
	b.AddBytes(r.Node[:])
	b.AddBytes(r.WireGuard[:])
	b.AddBytes(r.Sealing[:])
	return b.BytesOrPanic() // only a name over 255 bytes fails, see Request
}

func (r *JoinRequest) unmarshal(body []byte) error {
	s := cryptobyte.String(body)
	var version uint8
	if !s.ReadUint8(&version) || version != joinVersion {
		return errVersion
	}
	if !s.CopyBytes(r.Invite[:]) || !readString(&s, &r.Name) || !s.CopyBytes(r.Node[:]) ||
		!s.CopyBytes(r.WireGuard[:]) || !s.CopyBytes(r.Sealing[:]) || !s.Empty() {
		return errFormat
	}
	return CheckName(r.Name)
}

// marshal makes the body of an answer:
//
//	version (1) ‖ refusal (1+n), which if it is empty is followed by
//	‖ network name (1+n) ‖ prefix (4+1) ‖ discovery key (32)
//	‖ statement count (1) ‖ statements (2+n each)
func (a *JoinAnswer) marshal() ([]byte, error) {
	b := cryptobyte.NewBuilder([]byte{joinVersion})
	addString(b, string(a.Refusal))
	if a.Refusal != "" {
		return b.Bytes()
	}
	addString(b, a.NetworkName)
	b.AddBytes(a.Prefix.Addr().AsSlice())
	b.AddUint8(uint8(a.Prefix.Bits()))
	b.AddBytes(a.DiscoveryKey[:])
	b.AddUint8(uint8(len(a.Statements)))
	for _, s := range a.Statements {
		addBytes16(b, s)
	}
	return b.Bytes()
}

func (a *JoinAnswer) unmarshal(body []byte) error {
	s := cryptobyte.String(body)
	var version, bits, statements uint8
	var refusal string
	if !s.ReadUint8(&version) || version != joinVersion {
		return errVersion
	}
	if !readString(&s, &refusal) {
		return errFormat
	}
	if a.Refusal = ErrorCode(refusal); refusal != "" {
		if !s.Empty() {
			return errFormat
		}
		return nil
	}
	var ip [4]byte
	ok := readString(&s, &a.NetworkName) && s.CopyBytes(ip[:]) && s.ReadUint8(&bits) &&
		s.CopyBytes(a.DiscoveryKey[:]) && s.ReadUint8(&statements)
	for range statements {
		var raw []byte
		ok = ok && readBytes16(&s, &raw)
		a.Statements = append(a.Statements, raw)
	}
	a.Prefix = netip.PrefixFrom(netip.AddrFrom4(ip), int(bits))
	if !ok || !s.Empty() || !a.Prefix.IsValid() || a.Prefix != a.Prefix.Masked() {
		return errFormat
	}
	return CheckName(a.NetworkName)
}
