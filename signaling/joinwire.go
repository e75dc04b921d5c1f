package signaling

import (
	"net/netip"

	"github.com/p2ptun/p2ptun/config"
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
//	‖ network name (1+n) ‖ prefix (4+1) ‖ record (2+n) ‖ discovery key (32)
//	‖ URL count (1) ‖ URLs (1+n each) ‖ hub key (32) ‖ members' digest (1+n)
func (a *JoinAnswer) marshal() ([]byte, error) {
	b := cryptobyte.NewBuilder([]byte{joinVersion})
	addString(b, string(a.Refusal))
	if a.Refusal != "" {
		return b.Bytes()
	}
	addString(b, a.NetworkName)
	b.AddBytes(a.Prefix.Addr().AsSlice())
	b.AddUint8(uint8(a.Prefix.Bits()))
	addBytes16(b, a.Record)
	b.AddBytes(a.DiscoveryKey[:])
	b.AddUint8(uint8(len(a.Hub.URLs)))
	for _, u := range a.Hub.URLs {
		addString(b, u)
	}
	b.AddBytes(a.Hub.Key[:])
	addString(b, string(a.Members))
	return b.Bytes()
}

func (a *JoinAnswer) unmarshal(body []byte) error {
	s := cryptobyte.String(body)
	var version, bits, urls uint8
	var refusal, members string
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
		readBytes16(&s, &a.Record) && s.CopyBytes(a.DiscoveryKey[:]) && s.ReadUint8(&urls)
	for range urls {
		var u string
		ok = ok && readString(&s, &u) && config.CheckHubURL(u) == nil
		a.Hub.URLs = append(a.Hub.URLs, u)
	}
	ok = ok && s.CopyBytes(a.Hub.Key[:]) && readString(&s, &members) && s.Empty()
	a.Prefix = netip.PrefixFrom(netip.AddrFrom4(ip), int(bits))
	a.Members = []byte(members)
	if !ok || !a.Prefix.IsValid() || a.Prefix != a.Prefix.Masked() || urls == 0 || urls > config.MaxHubURLs {
		return errFormat
	}
	return CheckName(a.NetworkName)
}
