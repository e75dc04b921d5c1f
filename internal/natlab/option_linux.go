package natlab

import "net/netip"

// An Option changes how a host or a NAT is attached.
type Option func(*config)

type config struct {
	link    Link
	lan     netip.Prefix
	carrier bool
	noIPv6  bool
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
