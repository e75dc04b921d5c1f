package tun

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/p2ptun/p2ptun/config"
)

// MTU limits, in bytes of inner IP packet.
const (
	// BaseMTU is what every address of the network gets of which nothing is
	// known. It passes every path that carries IPv6 at all, with room for
	// WireGuard's and TURN's headers on ordinary links.
	BaseMTU = 1280

	// DefaultMTU is that of the interface, and so the most that any address can
	// get: what WireGuard over UDP over IPv4 leaves of a jumbo frame of 9000.
	DefaultMTU = 9000 - 20 - 8 - 32

	// minMTU is the least an IPv6 link may have (RFC 8200, section 5); below
	// it Linux silently takes IPv6 off the interface.
	minMTU = 1280

	// maxMTU is the largest value the TUN driver accepts.
	maxMTU = 65535

	// maxNameLen is IFNAMSIZ without the terminating zero.
	maxNameLen = 15
)

// Config describes the interface to make.
type Config struct {
	// Name of the interface: 1 to 15 letters, digits, '.', '_' or '-'.
	Name string

	// MTU of the interface in bytes: the most that SetMTU can give an address.
	// DefaultMTU when zero, else between 1280 and 65535.
	MTU int

	// Plain turns offloads off: packets are read and written one by one, for
	// kernels that get joined ones wrong.
	Plain bool

	// Prefixes holds the node's own addresses, each with the prefix length of
	// the network: 10.77.0.2/16 makes all of 10.77.0.0/16 reachable through
	// the interface, with BaseMTU. At least one.
	Prefixes []netip.Prefix
}

// checked returns c with defaults filled in, or what is wrong with it.
func (c Config) checked() (Config, error) {
	if err := checkName(c.Name); err != nil {
		return c, err
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.MTU < minMTU || c.MTU > maxMTU {
		return c, fmt.Errorf("MTU %d is not between %d and %d", c.MTU, minMTU, maxMTU)
	}
	if len(c.Prefixes) == 0 {
		return c, errors.New("no address for the interface")
	}
	for _, p := range c.Prefixes {
		if a := p.Addr(); !p.IsValid() || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return c, fmt.Errorf("%s is no address for the interface", p)
		}
	}
	return c, nil
}

// checkName is stricter than the kernel, which also takes control characters
// and treats '%' as a pattern: the name ends up in file names and in shells.
func checkName(name string) error {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	bad := name == "" || len(name) > maxNameLen || name == "." || name == ".." ||
		strings.Trim(name, allowed) != ""
	if !bad {
		return nil
	}
	return config.WithHint(fmt.Errorf("interface name %q is not possible", name),
		fmt.Sprintf("give --interface 1 to %d letters, digits, '.', '_' or '-'", maxNameLen))
}
