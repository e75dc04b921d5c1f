package natlab

import (
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers of a rule, 4 bytes each. Keys of several fields are read from
// neighbours, so the order here is the order of the fields in the sets of
// rules_linux.go.
const (
	regInternalAddr = unix.NFT_REG32_00 + iota
	regInternalPort
	regRemoteAddr
	regRemotePort
	regExternalPort
	regPeerAddr // the remote endpoint once more, beside the external port
	regPeerPort
	regScratch
)

// field is a place in a packet.
type field struct {
	base        expr.PayloadBase
	offset, len uint32
}

const (
	network   = expr.PayloadBaseNetworkHeader
	transport = expr.PayloadBaseTransportHeader
)

// Fields of an IPv4 packet, and of the UDP packet that an ICMP error quotes
// (RFC 792: 8 bytes of ICMP header, then the quoted IPv4 header without
// options, then the quoted ports).
var (
	ipSource      = field{network, 12, 4}
	ipDestination = field{network, 16, 4}
	sourcePort    = field{transport, 0, 2}
	destPort      = field{transport, 2, 2}

	icmpType          = field{transport, 0, 1}
	quotedVersion     = field{transport, 8, 1}
	quotedProtocol    = field{transport, 8 + 9, 1}
	quotedSource      = field{transport, 8 + 12, 4}
	quotedDestination = field{transport, 8 + 16, 4}
	quotedSourcePort  = field{transport, 8 + 20, 2}
	quotedDestPort    = field{transport, 8 + 22, 2}
)

// checksum is where a checksum that covers a changed field is kept, relative
// to the field's base.
type checksum struct {
	offset uint32
	pseudo bool // the transport checksum covers the field as well
}

var (
	ipChecksum       = checksum{offset: 10}
	ipAndUDPChecksum = checksum{offset: 10, pseudo: true}
	udpChecksum      = checksum{offset: 6}
	icmpChecksum     = checksum{offset: 2}
	quotedIPChecksum = checksum{offset: 8 + 10}
)

// rule is what one nftables rule does, step by step.
type rule []expr.Any

// steps joins parts of a rule.
func steps(parts ...rule) rule {
	var r rule
	for _, p := range parts {
		r = append(r, p...)
	}
	return r
}

func load(reg uint32, f field) rule {
	return rule{&expr.Payload{DestRegister: reg, Base: f.base, Offset: f.offset, Len: f.len}}
}

func store(reg uint32, f field, sum checksum) rule {
	p := &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: reg,
		Base: f.base, Offset: f.offset, Len: f.len,
		CsumType: expr.CsumTypeInet, CsumOffset: sum.offset,
	}
	if sum.pseudo {
		p.CsumFlags = unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR
	}
	return rule{p}
}

func constant(reg uint32, b ...byte) rule {
	return rule{&expr.Immediate{Register: reg, Data: b}}
}

func is(f field, want ...byte) rule      { return compare(f, expr.CmpOpEq, want) }
func isNot(f field, want ...byte) rule   { return compare(f, expr.CmpOpNeq, want) }
func isAddr(f field, a netip.Addr) rule  { return is(f, a.AsSlice()...) }
func notAddr(f field, a netip.Addr) rule { return isNot(f, a.AsSlice()...) }

func compare(f field, op expr.CmpOp, data []byte) rule {
	return append(load(regScratch, f), &expr.Cmp{Op: op, Register: regScratch, Data: data})
}

func meta(key expr.MetaKey, want []byte) rule {
	return rule{
		&expr.Meta{Key: key, Register: regScratch},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regScratch, Data: want},
	}
}

func from(iface string) rule   { return meta(expr.MetaKeyIIFNAME, ifname(iface)) }
func to(iface string) rule     { return meta(expr.MetaKeyOIFNAME, ifname(iface)) }
func protocol(proto byte) rule { return meta(expr.MetaKeyL4PROTO, []byte{proto}) }

func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// tracked matches packets of, or related to, a connection that was begun from
// inside.
func tracked() rule {
	established := expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	return rule{
		&expr.Ct{Key: expr.CtKeySTATE, Register: regScratch},
		&expr.Bitwise{SourceRegister: regScratch, DestRegister: regScratch, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(established), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regScratch, Data: make([]byte, 4)},
	}
}

func verdict(kind expr.VerdictKind, chain string) rule {
	return rule{&expr.Verdict{Kind: kind, Chain: chain}}
}

func accept() rule           { return verdict(expr.VerdictAccept, "") }
func drop() rule             { return verdict(expr.VerdictDrop, "") }
func jump(chain string) rule { return verdict(expr.VerdictJump, chain) }
func goTo(chain string) rule { return verdict(expr.VerdictGoto, chain) }
