package natlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// A NAT is a router between a LAN and an upstream: a home gateway, or a
// carrier's NAT. It answers pings and is the next hop of its LAN; it runs no
// services. Safe for concurrent use.
type NAT struct {
	lab      *Lab
	ns       *namespace
	behavior Behavior
	prefix   netip.Prefix // of the LAN
	inner    string       // the interface that what is translated comes from
	resolver netip.Addr   // of the LAN's hosts; invalid: the machine's

	// These are guarded by lab.mu.
	wan     *attachment
	sockets int // LAN interfaces made
	leased  int // LAN addresses given out

	only6     bool         // the LAN has no IPv4
	open6     bool         // the router lets all IPv6 in
	prefix6   netip.Prefix // of the LAN; invalid: none
	leased6   int          // LAN addresses given out
	customers []*attachment
	spawner   *spawner // of commands with the resolver; nil: none needed one
}

// NAT attaches a NAT to the core, with a public WAN address.
func (l *Lab) NAT(name string, b Behavior, opts ...Option) (*NAT, error) {
	return l.newNAT(l.core, name, b, opts)
}

// NAT attaches another NAT to this one's LAN.
func (n *NAT) NAT(name string, b Behavior, opts ...Option) (*NAT, error) {
	return n.lab.newNAT(n, name, b, opts)
}

func (l *Lab) newNAT(up upstream, name string, b Behavior, opts []Option) (*NAT, error) {
	c := configure(opts)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.lan.IsValid() {
		c.lan = l.nextLAN(c.carrier)
	}
	if !c.lan.Addr().Is4() || c.lan.Bits() < 24 || c.lan.Bits() > 29 {
		return nil, fmt.Errorf("natlab: LAN %s of %s is not an IPv4 prefix from /24 to /29", c.lan, name)
	}
	if c.ipv6 && up != upstream(l.core) {
		return nil, fmt.Errorf("natlab: %s: IPv6 is routed to networks at the core alone", name)
	}
	ns, err := l.namespace(name)
	if err != nil {
		return nil, err
	}
	n := &NAT{
		lab: l, ns: ns, behavior: b, prefix: c.lan.Masked(), inner: ifLAN,
		only6: c.only6 || c.nat64.IsValid(), open6: c.open6,
	}
	if err := n.ns.router(); err != nil {
		return nil, err
	}
	if err := n.makeLAN(); err != nil {
		return nil, err
	}
	if n.wan, err = l.attach(end{ns, ifWAN}, up, c); err != nil {
		return nil, err
	}
	if c.ipv6 {
		err = n.route6()
	}
	if err == nil && c.nat64.IsValid() {
		err = n.startNAT64(c.nat64)
	}
	if err != nil {
		return nil, err
	}
	return n, n.install()
}

// makeLAN makes the bridge that hosts are plugged into.
func (n *NAT) makeLAN() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = ifLAN
	// A bridge without an address of its own changes it with every port
	// added, and hosts would go on sending to the old one.
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0, 0, 0, 0, 1}
	snooping := false // with no querier around, it only loses multicast
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := n.ns.handle.LinkAdd(bridge); err != nil {
		return fmt.Errorf("natlab: make the LAN of %s: %w", n.ns.name, err)
	}
	// Where the kernel can filter bridged packets as routed ones, keep it off.
	if err := n.ns.sysctl("bridge/bridge-nf-call-iptables", "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if !n.only6 {
		if err := n.ns.addAddr(ifLAN, netip.PrefixFrom(n.Gateway(), n.prefix.Bits())); err != nil {
			return err
		}
	}
	return n.ns.up(ifLAN)
}

// Name returns the name it was made with.
func (n *NAT) Name() string { return n.ns.name }

// Addr returns the WAN address: what the upstream sees packets come from.
func (n *NAT) Addr() netip.Addr {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	return n.wan.addr()
}

// Gateway returns the router's address in its LAN.
func (n *NAT) Gateway() netip.Addr { return n.prefix.Addr().Next() }

// LAN returns the prefix behind the NAT.
func (n *NAT) LAN() netip.Prefix { return n.prefix }

func (n *NAT) socket() end {
	n.sockets++
	return end{n.ns, fmt.Sprintf("lan%d", n.sockets)}
}

func (n *NAT) connected(outside end) error {
	bridge, err := n.ns.handle.LinkByName(ifLAN)
	if err != nil {
		return fmt.Errorf("natlab: LAN of %s: %w", n.ns.name, err)
	}
	err = n.ns.onLink(outside.name, "bridge", func(link netlink.Link) error {
		return n.ns.handle.LinkSetMaster(link, bridge)
	})
	if err != nil {
		return err
	}
	return n.ns.ready(ifLAN) // a bridge has the carrier of its ports
}

func (n *NAT) lease() (netip.Prefix, netip.Addr, error) {
	addr := n.Gateway()
	n.leased++
	for range n.leased {
		addr = addr.Next()
	}
	if last := addr.Next(); !n.prefix.Contains(last) { // the broadcast address stays free
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("natlab: the LAN of %s is full", n.ns.name)
	}
	return netip.PrefixFrom(addr, n.prefix.Bits()), n.Gateway(), nil
}

func (n *NAT) deliver(end, netip.Addr) error { return nil } // all on one link

// install writes the firewall for the current WAN address. lab.mu is held.
func (n *NAT) install() error {
	if len(n.wan.addrs) == 0 {
		return nil // nothing to translate
	}
	return n.transaction(func(r *ruleset) error { return r.install() })
}

// transaction runs fn with the router's firewall. lab.mu is held.
func (n *NAT) transaction(fn func(*ruleset) error) error {
	return n.ns.do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return fmt.Errorf("natlab: nftables in %s: %w", n.ns.name, err)
		}
		return fn(newRuleset(conn, n.behavior, n.inner, n.wan.addr()))
	})
}

// Flush forgets all mappings, filters and connections, as a router does that
// was switched off and on.
func (n *NAT) Flush() error {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	return n.flush()
}

func (n *NAT) flush() error {
	if err := n.install(); err != nil {
		return err
	}
	if err := n.ns.handle.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		return fmt.Errorf("natlab: flush the connections of %s: %w", n.ns.name, err)
	}
	return nil
}

// Renumber gives the NAT another WAN address, as providers do at night. It
// forgets what [NAT.Flush] forgets.
func (n *NAT) Renumber() error {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	if err := n.wan.renumber(); err != nil {
		return err
	}
	return n.flush()
}

// SetLink is [Host.SetLink] for the NAT's link to its upstream.
func (n *NAT) SetLink(k Link) error {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	return n.lab.setLink(n.wan, func(now *Link) { *now = k })
}

// Unplug cuts the NAT off its upstream; Plug ends that.
func (n *NAT) Unplug() error { return n.lab.setUp(n.wan, false) }

// Plug connects the NAT to its upstream again.
func (n *NAT) Plug() error { return n.lab.setUp(n.wan, true) }
