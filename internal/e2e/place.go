package e2e

import (
	"strings"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// Place makes a host of that name in such a place of the internet: "public", behind
// a home NAT of one of [natlab.Parse]'s kinds, or
//
//	cgnat-KIND     behind a port-restricted home NAT and a carrier's of that kind
//	no-udp         behind a NAT that lets no UDP out
//	web            behind one that lets out nothing but TCP to ports 80 and 443
//	ipv6           in a network without IPv4, behind a firewall that tracks state
//	ipv6-firewall  behind such a firewall, and a symmetric NAT for IPv4
func Place(lab *natlab.Lab, kind, name string) (*natlab.Host, error) {
	if kind == "public" {
		return lab.PublicHost(name)
	}
	behavior, opts := natlab.PortRestricted, []natlab.Option(nil)
	carrier, ofCarrier := strings.CutPrefix(kind, "cgnat-")
	switch {
	case ofCarrier:
		return behindCarrier(lab, carrier, name)
	case kind == "no-udp":
		behavior.Firewall = natlab.NoUDP
	case kind == "web":
		behavior.Firewall = natlab.WebOnly
	case kind == "ipv6":
		opts = append(opts, natlab.OnlyIPv6())
	case kind == "ipv6-firewall":
		behavior, opts = natlab.Symmetric, append(opts, natlab.IPv6())
	default:
		var err error
		if behavior, err = natlab.Parse(kind); err != nil {
			return nil, err
		}
	}
	home, err := lab.NAT(name+"-home", behavior, opts...)
	if err != nil {
		return nil, err
	}
	return home.Host(name)
}

func behindCarrier(lab *natlab.Lab, kind, name string) (*natlab.Host, error) {
	behavior, err := natlab.Parse(kind)
	if err != nil {
		return nil, err
	}
	carrier, err := lab.NAT(name+"-isp", behavior, natlab.CarrierGrade())
	if err != nil {
		return nil, err
	}
	home, err := carrier.NAT(name+"-home", natlab.PortRestricted)
	if err != nil {
		return nil, err
	}
	return home.Host(name)
}
