package natlab

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Next hops of IPv6 are link-local, as routers announce themselves: nextHop6 is on
// every interface towards a customer, customer6 on the uplink of a router that has
// a network behind it.
var (
	nextHop6  = netip.MustParseAddr("fe80::1")
	customer6 = netip.MustParseAddr("fe80::2")
)

// Addresses of the core's customers, of the documentation prefix (RFC 3849): single
// ones, and the /64 networks.
var (
	hosts6    = netip.MustParsePrefix("2001:db8:1::/64")
	networks6 = netip.MustParsePrefix("2001:db8:2::/48")
)

var anywhere6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)

// enable6 turns IPv6 on, on an interface of a router, which are without else.
func (e end) enable6() error {
	at := "ipv6/conf/" + e.name
	// Nothing else can have its addresses.
	return e.ns.sysctl("ipv6/conf/all/accept_dad", "0", at+"/accept_dad", "0", at+"/accept_ra", "0", at+"/disable_ipv6", "0")
}

// put6 gives the interface an address; it may have it already.
func (e end) put6(p netip.Prefix, flags, preferred int) error {
	err := e.ns.onLink(e.name, "add "+p.String()+" to", func(link netlink.Link) error {
		return e.ns.handle.AddrReplace(link, &netlink.Addr{
			IPNet: ipNet(p), Flags: flags, ValidLft: math.MaxUint32, PreferedLft: preferred,
		})
	})
	if err != nil {
		return err
	}
	return e.await6(p.String(), func(a netlink.Addr) bool { return a.IP.Equal(p.Addr().AsSlice()) })
}

// await6 waits until an address of the interface fits that is usable, which takes a
// job of the kernel's: before, nobody there answers for it.
func (e end) await6(what string, fits func(netlink.Addr) bool) error {
	deadline := time.Now().Add(readyTimeout)
	for found := false; ; {
		err := e.ns.onLink(e.name, "look at", func(link netlink.Link) error {
			all, err := e.ns.handle.AddrList(link, netlink.FAMILY_V6)
			found = slices.ContainsFunc(all, func(a netlink.Addr) bool {
				return a.Flags&unix.IFA_F_TENTATIVE == 0 && fits(a)
			})
			return err
		})
		if err != nil || found {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("natlab: %s in %s has %s not usable", e.name, e.ns.name, what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (c *core) connected6(outside end) error {
	if err := c.ns.sysctl("ipv6/conf/lo/disable_ipv6", "0", "ipv6/conf/all/forwarding", "1"); err != nil {
		return err
	}
	if err := outside.enable6(); err != nil {
		return err
	}
	return outside.put6(netip.PrefixFrom(nextHop6, 64), 0, math.MaxUint32)
}

func (c *core) lease6() (netip.Prefix, error) {
	c.hosts6++
	return netip.PrefixFrom(nth(hosts6.Addr(), 15, 1+c.hosts6), 128), nil
}

// network6 gives out a prefix and routes it to a customer.
func (c *core) network6(outside end) (netip.Prefix, error) {
	c.networks6++
	p := netip.PrefixFrom(nth(networks6.Addr(), 7, c.networks6), 64)
	return p, c.ns.route(outside.name, p, customer6)
}

// forget6 routes a network no more.
func (c *core) forget6(outside end, p netip.Prefix) error {
	return c.ns.onLink(outside.name, "route nothing of "+p.String()+" to", func(link netlink.Link) error {
		return c.ns.handle.RouteDel(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p), Gw: customer6.AsSlice()})
	})
}

// nth adds a number to the two bytes of an address that end at index last.
func nth(a netip.Addr, last, n int) netip.Addr {
	b := a.As16()
	b[last-1], b[last] = byte(n>>8), byte(n)
	return netip.AddrFrom16(b)
}

// addr6 returns the newest IPv6 address.
func (a *attachment) addr6() netip.Addr {
	if len(a.addrs6) == 0 {
		return netip.Addr{}
	}
	return a.addrs6[len(a.addrs6)-1].Addr()
}

// addAddr6 leases one more IPv6 address.
func (a *attachment) addAddr6() error {
	if err := a.upstream.connected6(a.outside); err != nil {
		return err
	}
	p, err := a.upstream.lease6()
	if err != nil {
		return err
	}
	return a.take6(p)
}

// take6 has the customer use an address from now on.
func (a *attachment) take6(p netip.Prefix) error {
	if err := a.inside.enable6(); err != nil {
		return err
	}
	flags := 0
	if a.temporary {
		flags = unix.IFA_F_MANAGETEMPADDR
	}
	if err := a.inside.put6(p, flags, math.MaxUint32); err != nil {
		return err
	}
	if a.temporary {
		err := a.inside.await6("a temporary address", func(x netlink.Addr) bool {
			return x.Flags&unix.IFA_F_TEMPORARY != 0 && p.Contains(netip.AddrFrom16([16]byte(x.IP.To16())))
		})
		if err != nil {
			return err
		}
	}
	a.addrs6 = append(a.addrs6, p)
	if err := a.upstream.deliver(a.outside, p.Addr()); err != nil {
		return err
	}
	return a.inside.ns.route(a.inside.name, anywhere6, nextHop6)
}

// plugged6 restores what the upstream's interface has lost of IPv6 by having been
// down.
func (a *attachment) plugged6() error {
	for _, p := range a.addrs6 {
		err := errors.Join(a.upstream.connected6(a.outside), a.upstream.deliver(a.outside, p.Addr()))
		if err != nil {
			return err
		}
	}
	for _, p := range a.networks6 {
		if err := a.outside.ns.route(a.outside.name, p, customer6); err != nil {
			return err
		}
	}
	return nil
}
