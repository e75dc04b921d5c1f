package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks our routes (RTPROT_…; up to 192 are registered).
const routeProtocol = 221

// SetMTU has packets to addrs be at most mtu bytes long, up to the MTU of the
// interface: each address gets a route of its own, until its MTU is BaseMTU
// again, which needs none. Connections that are open follow, up and down.
// Addresses outside the network are passed over: whoever names them is not to
// draw their traffic here. A value below BaseMTU also bounds the padding of all
// packets from then on.
//
// Below 1280 as well IPv6 follows: Linux sends smaller segments, and cuts what
// is longer into fragments.
//
// It may be repeated, and is not to be called after Close.
func (i *Interface) SetMTU(addrs []netip.Addr, mtu int) error {
	mtu = min(mtu, i.mtu)
	i.dev.lowerPadding(mtu)
	i.mu.Lock()
	defer i.mu.Unlock()
	var errs []error
	for _, a := range addrs {
		own := i.network(a)
		if !own.IsValid() || own.Addr() == a || a.Is6() && i.ipv4Only {
			continue
		}
		i.noteLocked(a, mtu)
		if err := i.setRoute(i.route(netip.PrefixFrom(a, a.BitLen()), own.Addr(), mtu)); err != nil {
			errs = append(errs, fmt.Errorf("interface %s: MTU %d of %s: %w", i.name, mtu, a, err))
		}
	}
	return errors.Join(errs...)
}

// noteLocked keeps an address's MTU for Restore. The caller holds mu.
func (i *Interface) noteLocked(a netip.Addr, mtu int) {
	if mtu == BaseMTU {
		delete(i.mtus, a)
		return
	}
	if i.mtus == nil {
		i.mtus = make(map[netip.Addr]int)
	}
	i.mtus[a] = mtu
}

// setRoute adds or replaces the route of one address, or removes it when it says
// nothing that the network's does not.
func (i *Interface) setRoute(r *netlink.Route) error {
	if r.MTU != BaseMTU {
		return netlink.RouteReplace(r)
	}
	r.MTU, r.MTULock, r.AdvMSS = 0, false, 0 // IPv4: only what has these would be removed
	if err := netlink.RouteDel(r); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil // there is none
}

// network returns the own address of the network that a is in, or the zero
// Prefix.
func (i *Interface) network(a netip.Addr) netip.Prefix {
	for _, p := range i.prefixes {
		if p.Contains(a) {
			return p
		}
	}
	return netip.Prefix{}
}

// routeNetwork routes the prefixes to the interface.
func (i *Interface) routeNetwork() error {
	for _, r := range i.networkRoutes() {
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("route %s: %w", r.Dst, err)
		}
	}
	return nil
}

// networkRoutes are the routes of the prefixes.
func (i *Interface) networkRoutes() (routes []*netlink.Route) {
	for _, p := range i.prefixes {
		if !p.IsSingleIP() && !(p.Addr().Is6() && i.ipv4Only) {
			routes = append(routes, i.route(p.Masked(), p.Addr(), min(BaseMTU, i.mtu)))
		}
	}
	return routes
}

// route describes the route to dst, from one of our addresses. The peer is told
// that we take segments as long as the interface does (advmss), or a connection
// could not grow when the peer finds out that the path carries more.
func (i *Interface) route(dst netip.Prefix, from netip.Addr, mtu int) *netlink.Route {
	r := &netlink.Route{
		LinkIndex: i.index, Protocol: routeProtocol, Scope: netlink.SCOPE_LINK,
		Dst: &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())},
		Src: from.AsSlice(), MTU: mtu, AdvMSS: i.mtu - 20 - 20,
	}
	if from.Is6() {
		r.Scope, r.Priority = netlink.SCOPE_UNIVERSE, 256 // as the kernel does it
		r.AdvMSS = i.mtu - 40 - 20
		r.MTULock = true // else what this machine forwards does not heed it
	}
	return r
}
