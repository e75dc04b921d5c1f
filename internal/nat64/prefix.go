package nat64

import (
	"net/netip"
	"slices"
)

// Prefix is a NAT64's. The zero Prefix is none. Immutable.
type Prefix struct{ p netip.Prefix }

// lengths are those of RFC 6052 section 2.2, the usual first.
var lengths = []int{96, 64, 56, 48, 40, 32}

// reserved is the byte that no address is put into: bits 64 to 71 are zero.
const reserved = 8

// IsValid says whether there is a prefix.
func (p Prefix) IsValid() bool { return p.p.IsValid() }

func (p Prefix) String() string { return p.p.String() }

// Embed returns the IPv6 address that stands for an IPv4 one; a as it is without a
// prefix, and where it is no IPv4 address.
func (p Prefix) Embed(a netip.Addr) netip.Addr {
	if !p.IsValid() || !a.Is4() {
		return a
	}
	b, at := p.p.Addr().As16(), p.p.Bits()/8
	for _, x := range a.As4() {
		if at == reserved {
			at++
		}
		b[at] = x
		at++
	}
	return netip.AddrFrom16(b)
}

// global stands for global addresses alone (RFC 6052 section 3.1).
var (
	global = netip.MustParsePrefix("64:ff9b::/96")
	shared = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
)

// represents says whether the prefix may stand for an IPv4 address.
func (p Prefix) represents(a netip.Addr) bool {
	return p.p != global || a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a)
}

// Extract returns the IPv4 address that a stands for, and whether it is one that
// Embed makes.
func (p Prefix) Extract(a netip.Addr) (netip.Addr, bool) {
	if !p.IsValid() || !p.p.Contains(a) {
		return netip.Addr{}, false
	}
	v4 := at(a, p.p.Bits())
	return v4, p.Embed(v4) == a
}

// at reads the IPv4 address behind so many bits.
func at(a netip.Addr, bits int) netip.Addr {
	b, i := a.As16(), bits/8
	var v4 [4]byte
	for k := range v4 {
		if i == reserved {
			i++
		}
		v4[k] = b[i]
		i++
	}
	return netip.AddrFrom4(v4)
}

// The IPv4 addresses of Name, in the whole internet (RFC 7050 section 8.2).
var wellKnown = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 0, 170}), netip.AddrFrom4([4]byte{192, 0, 0, 171})}

// Find returns the prefix that the IPv6 addresses of Name were made with (RFC 7050
// section 3); the zero Prefix where they do not say. An address fits one length at
// most, as what follows the IPv4 address is zero. Of several prefixes one that makes
// both addresses is the surest. It is pure.
func Find(answers []netip.Addr) (p Prefix) {
	for _, a := range answers {
		for _, bits := range lengths {
			q, ok := made(a, bits)
			if !ok {
				continue
			}
			if !slices.ContainsFunc(wellKnown, func(a netip.Addr) bool { return !slices.Contains(answers, q.Embed(a)) }) {
				return q
			}
			if !p.IsValid() {
				p = q
			}
		}
	}
	return p
}

// made says whether a may be one of Name's addresses behind a prefix of so many bits.
func made(a netip.Addr, bits int) (Prefix, bool) {
	if !a.Is6() || a.Is4In6() || a.Zone() != "" || !a.IsGlobalUnicast() {
		return Prefix{}, false
	}
	p := Prefix{netip.PrefixFrom(a, bits).Masked()}
	v4, ok := p.Extract(a)
	return p, ok && slices.Contains(wellKnown, v4)
}
