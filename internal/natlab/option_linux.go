package natlab

import "net/netip"

// An Option changes how a host or a NAT is attached.
type Option func(*config)

type config struct {
	link    Link
	lan     netip.Prefix
	carrier bool
	noIPv6  bool

	ipv6, only6, open6 bool
	temporary          bool
	nat64              netip.Prefix // invalid: there is none
}

func configure(opts []Option) config {
	var c config
	for _, o := range opts {
		o(&c)
	}
	return c
}

// Through attaches the host, or the WAN side of the NAT, by this link.
func Through(k Link) Option { return func(c *config) { c.link = k } }

// LAN chooses the prefix behind a NAT, /24 to /29. Several NATs may have the
// same one. Without this option each NAT has its own. Hosts ignore it.
func LAN(p netip.Prefix) Option { return func(c *config) { c.lan = p } }

// CarrierGrade gives the NAT a LAN of shared address space (100.64.0.0/10,
// RFC 6598), to attach homes to. Hosts ignore it.
func CarrierGrade() Option { return func(c *config) { c.carrier = true } }

// NoIPv6 turns IPv6 off in a host, as some owners do. NATs ignore it.
func NoIPv6() Option { return func(c *config) { c.noIPv6 = true } }

// IPv6 gives a public host an address of IPv6 beside the other, and the LAN of a
// NAT at the core a routed /64, which its hosts have addresses of. Nothing is
// translated; the router lets in what answers something from inside (RFC 6092),
// connection tracking's exact endpoints, for as long as its mappings last. Hosts
// of a LAN ignore it.
func IPv6() Option { return func(c *config) { c.ipv6 = true } }

// OnlyIPv6 is IPv6 without IPv4.
func OnlyIPv6() Option { return func(c *config) { c.ipv6, c.only6 = true, true } }

// OpenIPv6 is IPv6 with a router that lets everything in. Hosts ignore that.
func OpenIPv6() Option { return func(c *config) { c.ipv6, c.open6 = true, true } }

// NAT64 gives a NAT at the core a LAN of IPv6 alone, whose hosts reach IPv4 by
// addresses made of this prefix (RFC 6146, RFC 6052), through the NAT's mappings
// and filters; their resolver tells them the prefix (RFC 7050). Tayga translates,
// a program of the machine: see [NAT64Available]. Hosts ignore it.
func NAT64(prefix netip.Prefix) Option {
	return func(c *config) { c.ipv6, c.nat64 = true, prefix }
}

// TemporaryAddrs has a host use temporary IPv6 addresses beside the stable ones,
// and prefer them (RFC 8981), as desktop systems do. NATs ignore it.
func TemporaryAddrs() Option { return func(c *config) { c.temporary = true } }
