package signaling

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/crypto/cryptobyte"
)

// Record is what an admin says of one member, in a Statement:
//
//	version (1) ‖ node key (32) ‖ sequence (8) ‖ expires (8) ‖ name (1+n)
//	‖ IPv4 (4) ‖ WireGuard key (32) ‖ sealing key (1216)
//	‖ tag count (1) ‖ tags (1+n each)
type Record struct {
	Node      config.NodeKey
	Sequence  uint64    // of two records for one node the higher wins
	Expires   time.Time // zero: never; whole seconds
	Name      string    // lower-case LDH label, see CheckName
	IPv4      netip.Addr
	WireGuard config.WireGuardKey
	Sealing   config.SealingKey
	Tags      []string // LDH labels, at most 16
}

const maxTags = 16

// SignedRecord is a record with the statement that says it. It is immutable.
type SignedRecord struct {
	Record
	statement *Statement
}

// Statement is what says it.
func (r *SignedRecord) Statement() *Statement { return r.statement }

// Bytes is the statement's signed form. The caller must not change it.
func (r *SignedRecord) Bytes() []byte { return r.statement.raw }

// ParseRecord is ParseStatement for a record.
func ParseRecord(network config.NetworkKey, raw []byte) (*SignedRecord, error) {
	s, err := ParseStatement(network, raw)
	if err != nil {
		return nil, err
	}
	if s.record == nil {
		return nil, errors.New("statement: it is no member record")
	}
	return s.record, nil
}

func (r *Record) check() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	if !r.IPv4.Is4() || !r.IPv4.IsGlobalUnicast() {
		return fmt.Errorf("%v is no IPv4 address of a host", r.IPv4)
	}
	if r.Node.IsZero() || r.WireGuard == (config.WireGuardKey{}) {
		return errors.New("a key is missing")
	}
	if len(r.Tags) > maxTags {
		return fmt.Errorf("%d tags, at most %d", len(r.Tags), maxTags)
	}
	for _, t := range r.Tags {
		if err := checkLabel(t); err != nil {
			return fmt.Errorf("tag: %w", err)
		}
	}
	return nil
}

func (r *Record) marshal(b *cryptobyte.Builder) error {
	b.AddBytes(r.Node[:])
	b.AddUint64(r.Sequence)
	addTime(b, r.Expires)
	addString(b, r.Name)
	b.AddBytes(r.IPv4.AsSlice())
	b.AddBytes(r.WireGuard[:])
	b.AddBytes(r.Sealing[:])
	b.AddUint8(uint8(len(r.Tags)))
	for _, t := range r.Tags {
		addString(b, t)
	}
	return nil
}

func (r *Record) unmarshal(body []byte) error {
	s := cryptobyte.String(body)
	var tags uint8
	var ip [4]byte
	ok := s.CopyBytes(r.Node[:]) && s.ReadUint64(&r.Sequence) && readTime(&s, &r.Expires) &&
		readString(&s, &r.Name) && s.CopyBytes(ip[:]) && s.CopyBytes(r.WireGuard[:]) &&
		s.CopyBytes(r.Sealing[:]) && s.ReadUint8(&tags) && tags <= maxTags
	for range tags {
		var t string
		ok = ok && readString(&s, &t)
		r.Tags = append(r.Tags, t)
	}
	if !ok || !s.Empty() {
		return errFormat
	}
	r.IPv4 = netip.AddrFrom4(ip)
	return r.check()
}

// Live says whether the record has not expired at the time given.
func (r *Record) Live(now time.Time) bool { return r.Expires.IsZero() || now.Before(r.Expires) }

// IPv6 is the member's address: the network's prefix and a hash of the node
// key, so that nobody has to assign it.
func (r *Record) IPv6(network config.ID) netip.Addr { return NodeIPv6(network, r.Node) }

// Addresses are the member's addresses inside the tunnel, IPv4 first.
func (r *Record) Addresses(network config.ID) []netip.Addr {
	return []netip.Addr{r.IPv4, r.IPv6(network)}
}

// NetworkIPv6 is the network's unique local prefix (RFC 4193), a /64 drawn
// from its ID.
func NetworkIPv6(network config.ID) netip.Prefix {
	h := sha256.Sum256(append([]byte("p2ptun/v1/ipv6-prefix\x00"), network[:]...))
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:8], h[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// NodeIPv6 is a node's address under NetworkIPv6.
func NodeIPv6(network config.ID, node config.NodeKey) netip.Addr {
	a := NetworkIPv6(network).Addr().As16()
	h := sha256.Sum256(append([]byte("p2ptun/v1/ipv6-host\x00"), node[:]...))
	copy(a[8:], h[:8])
	return netip.AddrFrom16(a)
}
