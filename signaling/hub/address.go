package hub

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/p2ptun/p2ptun/config"
)

// neverPeers are the forms of address that nothing is relayed to, whatever the
// operator allows: they reach the hub itself, its provider's metadata service,
// many machines at once, or an IPv4 address in disguise. (The documentation
// ranges are not among them: they are ordinary addresses in a lab.)
var neverPeers = prefixes(
	"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
	"192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", // protocol assignments, 6to4 anycast, benchmarks
	"100.100.100.200/32", "fd00:ec2::254/128", // metadata services outside of link-local
	"::/96",                          // unspecified, loopback, IPv4-compatible
	"64:ff9b::/96", "64:ff9b:1::/48", // NAT64 (RFC 6052, RFC 8215)
	"2002::/16", "2001::/32", // 6to4 (RFC 3056), Teredo (RFC 4380)
	"100::/64", "fe80::/10", "fec0::/10", "ff00::/8",
)

// privatePeers are relayed to only by a hub on a LAN.
var privatePeers = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")

func prefixes(s ...string) []netip.Prefix {
	p := make([]netip.Prefix, len(s))
	for i := range s {
		p[i] = netip.MustParsePrefix(s[i])
	}
	return p
}

func inAny(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// ordinary says whether a is of a form that may be relayed to.
func ordinary(a netip.Addr, allowPrivate bool) bool {
	return a.IsValid() && !a.Is4In6() && a.Zone() == "" && !inAny(neverPeers, a) &&
		(allowPrivate || !inAny(privatePeers, a))
}

type addrSet map[netip.Addr]struct{}

func (s addrSet) has(a netip.Addr) bool {
	_, ok := s[a]
	return ok
}

// machineAddrs are the addresses of this machine's interfaces.
func machineAddrs() (addrSet, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of this machine: %w", err)
	}
	set := make(addrSet)
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			set[p.Addr().Unmap()] = struct{}{}
		}
	}
	return set, nil
}

// publicAddrs are the addresses that members reach the hub by: those the
// operator gave, else the one it listens on, else the machine's.
func publicAddrs(given []netip.Addr, listen string, machine addrSet) ([]netip.Addr, error) {
	if len(given) > 0 {
		return checkGiven(given)
	}
	candidates := machine
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() {
			candidates = addrSet{a.Unmap(): {}}
		}
	}
	var public, private []netip.Addr
	for a := range candidates {
		if ordinary(a, false) {
			public = append(public, a)
		} else if ordinary(a, true) {
			private = append(private, a)
		}
	}
	slices.SortFunc(public, netip.Addr.Compare)
	slices.SortFunc(private, netip.Addr.Compare)
	if len(public) == 0 {
		return nil, noPublicAddr(private)
	}
	return public[:min(len(public), config.MaxHubURLs)], nil
}

func checkGiven(given []netip.Addr) ([]netip.Addr, error) {
	var public []netip.Addr
	for _, a := range given {
		a = a.Unmap()
		switch {
		case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "":
			return nil, config.WithHint(fmt.Errorf("public address %v: members cannot reach it", a), "give --public-addr an address that members reach")
		case slices.Contains(public, a):
		default:
			public = append(public, a)
		}
	}
	if len(public) > config.MaxHubURLs {
		return nil, config.WithHint(fmt.Errorf("%d public addresses, at most %d", len(public), config.MaxHubURLs), "give --public-addr less often")
	}
	return public, nil
}

func noPublicAddr(private []netip.Addr) error {
	what := "no address that members could reach"
	if len(private) > 0 {
		s := make([]string, len(private))
		for i, a := range private {
			s[i] = a.String()
		}
		what = "only private addresses (" + strings.Join(s, ", ") + ")"
	}
	return config.WithHint(fmt.Errorf("this machine has %s", what),
		"say which one members use: --public-addr IP (behind a router its public address, on a LAN the machine's own)")
}

// privateGiven says whether the operator named a private address, as on a LAN.
func privateGiven(given []netip.Addr) bool {
	return slices.ContainsFunc(given, func(a netip.Addr) bool { return !ordinary(a.Unmap(), false) })
}

// addrPort is a socket's address; IPv4 in its short form.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
