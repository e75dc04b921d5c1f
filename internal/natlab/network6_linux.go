package natlab

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
)

func (n *NAT) connected6(end) error { return nil } // the bridge carries it

func (n *NAT) lease6() (netip.Prefix, error) {
	n.leased6++
	return netip.PrefixFrom(nth(n.prefix6.Addr(), 15, 1+n.leased6), 64), nil
}

// route6 makes the NAT a router of IPv6, with a network behind it.
func (n *NAT) route6() error {
	lan := end{n.ns, ifLAN}
	err := n.ns.sysctl("ipv6/conf/lo/disable_ipv6", "0", "ipv6/conf/all/forwarding", "1")
	if err == nil {
		err = lan.enable6()
	}
	if err == nil {
		err = lan.put6(netip.PrefixFrom(nextHop6, 64), 0, math.MaxUint32)
	}
	if err == nil {
		err = n.wan.inside.put6(netip.PrefixFrom(customer6, 64), 0, math.MaxUint32)
	}
	if err != nil {
		return err
	}
	if n.prefix6, err = n.network6(); err != nil {
		return err
	}
	return n.install6()
}

// network6 has the core route another prefix here, and routes it to the LAN.
func (n *NAT) network6() (netip.Prefix, error) {
	p, err := n.lab.core.network6(n.wan.outside)
	if err == nil {
		n.wan.networks6 = append(n.wan.networks6, p)
		err = n.ns.route(ifLAN, p, netip.Addr{})
	}
	return p, err
}

// LAN6 returns the IPv6 prefix behind the router; invalid if it has none.
func (n *NAT) LAN6() netip.Prefix {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	return n.prefix6
}

// Renumber6 gives the LAN another IPv6 prefix: each host has an address of it from
// now on, and those of the old prefix are deprecated (RFC 4192). They go on to work
// until [NAT.Withdraw6].
func (n *NAT) Renumber6() error {
	return n.eachHost6(func(a *attachment, p netip.Prefix) error {
		old := a.addrs6[len(a.addrs6)-1]
		host := p.Addr().As16()
		id := old.Addr().As16()
		copy(host[8:], id[8:])
		return errors.Join(a.take6(netip.PrefixFrom(netip.AddrFrom16(host), 64)), a.inside.put6(old, 0, 0))
	}, true)
}

// Withdraw6 takes all addresses of old prefixes from the LAN's hosts, and routes them
// here no more.
func (n *NAT) Withdraw6() error {
	err := n.eachHost6(func(a *attachment, _ netip.Prefix) error {
		for ; len(a.addrs6) > 1; a.addrs6 = a.addrs6[1:] {
			if err := a.inside.ns.delAddr(a.inside.name, a.addrs6[0]); err != nil {
				return err
			}
		}
		return nil
	}, false)
	if err != nil {
		return err
	}
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	for ; len(n.wan.networks6) > 1; n.wan.networks6 = n.wan.networks6[1:] {
		if err := n.lab.core.forget6(n.wan.outside, n.wan.networks6[0]); err != nil {
			return err
		}
	}
	return nil
}

// eachHost6 does something to each host of the LAN that has IPv6, with another prefix
// if need be.
func (n *NAT) eachHost6(do func(*attachment, netip.Prefix) error, another bool) error {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	if !n.prefix6.IsValid() {
		return fmt.Errorf("natlab: the LAN of %s has no IPv6", n.ns.name)
	}
	if another {
		p, err := n.network6()
		if err != nil {
			return err
		}
		n.prefix6 = p
	}
	for _, a := range n.customers {
		if len(a.addrs6) == 0 {
			continue
		}
		if err := do(a, n.prefix6); err != nil {
			return err
		}
	}
	return nil
}
