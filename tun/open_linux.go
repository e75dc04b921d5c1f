package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/p2ptun/p2ptun/config"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// alias is the ifalias that marks an interface as made by this package,
// whatever its name.
const alias = "p2ptun"

// Open makes the interface, gives it its addresses and MTU, brings it up, and
// routes the network to it with BaseMTU; see SetMTU. What a crash left
// behind under that name is removed first. Open refuses a network that
// CheckConflicts refuses, and undoes everything when it fails.
//
// Where IPv6 is switched off on the host the interface gets its IPv4 addresses
// only and says so (IPv4Only); without any IPv4 address that is an error.
func Open(cfg Config) (*Interface, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	if err := CheckConflicts(cfg.Prefixes, cfg.Name); err != nil {
		return nil, err
	}
	file, err := create(cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("create interface %s: %w", cfg.Name, err)
	}
	i := &Interface{name: cfg.Name, mtu: cfg.MTU, prefixes: cfg.Prefixes}
	if err := i.configure(); err != nil {
		file.Close()
		return nil, fmt.Errorf("configure interface %s: %w", cfg.Name, err)
	}
	dev, err := newDevice(file, cfg.Name, cfg.Plain)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open interface %s: %w", cfg.Name, err)
	}
	i.dev = dev
	return i, nil
}

// configure marks the new interface as ours and sets it up.
func (i *Interface) configure() error {
	link, err := netlink.LinkByName(i.name)
	if err != nil {
		return err
	}
	i.index = link.Attrs().Index
	if err := netlink.LinkSetAlias(link, alias); err != nil {
		return fmt.Errorf("set alias: %w", err)
	}
	if err := netlink.LinkSetMTU(link, i.mtu); err != nil {
		return fmt.Errorf("set MTU %d: %w", i.mtu, err)
	}
	// A link-local address would only send router solicitations and multicast
	// reports into a tunnel that has no routers.
	err = netlink.LinkSetIP6AddrGenMode(link, nl.IN6_ADDR_GEN_MODE_NONE)
	if err != nil && !isIPv6Off(err) {
		return fmt.Errorf("switch off link-local addresses: %w", err)
	}
	if i.ipv4Only, err = addAddrs(link, i.prefixes); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	return i.routeNetwork()
}

// addAddrs adds the prefixes to link, without the IPv6 ones where the host
// refuses those.
func addAddrs(link netlink.Link, prefixes []netip.Prefix) (ipv4Only bool, err error) {
	added := 0
	for _, p := range prefixes {
		err := addAddr(link, p)
		if p.Addr().Is6() && isIPv6Off(err) {
			ipv4Only = true
			continue
		}
		if err != nil {
			return false, fmt.Errorf("add address %s: %w", p, err)
		}
		added++
	}
	if added == 0 {
		return false, config.WithHint(errors.New("the network is IPv6 only and IPv6 is switched off on this host"),
			"switch it on: sysctl net.ipv6.conf.default.disable_ipv6=0")
	}
	return ipv4Only, nil
}

// addAddr adds p, without the route that the kernel would make: that has the
// interface's MTU.
func addAddr(link netlink.Link, p netip.Prefix) error {
	addr := interfaceAddr(p)
	addr.Flags |= unix.IFA_F_NOPREFIXROUTE
	return netlink.AddrAdd(link, addr)
}

// interfaceAddr is p as netlink wants it. There is no link to detect duplicate
// IPv6 addresses on, and an address under detection is not usable for a second
// or two, hence NODAD; IPv4 gets no broadcast address, as the tunnel has no
// broadcast.
func interfaceAddr(p netip.Prefix) *netlink.Addr {
	ip := p.Addr()
	addr := &netlink.Addr{IPNet: &net.IPNet{
		IP:   ip.AsSlice(),
		Mask: net.CIDRMask(p.Bits(), ip.BitLen()),
	}}
	if ip.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	} else {
		addr.Broadcast = net.IPv4zero // netlink: none, instead of a computed one
	}
	return addr
}

// isIPv6Off recognises how the kernel refuses IPv6 settings: EACCES where
// disable_ipv6 is 1, the others where the kernel runs without IPv6. (Missing
// privileges are EPERM.)
func isIPv6Off(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)
}
