package tun

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// CheckConflicts returns an error that names prefix and interface if one of
// the network's prefixes collides with an address, a connected network or a
// more specific route of an interface other than ownName. Default routes, and
// routes wider than the network through a gateway, do not collide. It needs no
// privileges and changes nothing; the prefixes may have host bits set.
func CheckConflicts(prefixes []netip.Prefix, ownName string) error {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		if a := l.Attrs(); a.Name != ownName {
			names[a.Index] = a.Name
		}
	}
	claims, err := addrClaims(names)
	if err != nil {
		return err
	}
	routes, err := routeClaims(names)
	if err != nil {
		return err
	}
	return firstConflict(prefixes, append(claims, routes...))
}

// addrClaims lists the networks of the addresses on the interfaces in names (by
// index), whether these are up or not.
func addrClaims(names map[int]string) ([]claim, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var claims []claim
	for _, a := range addrs {
		// Which range a point-to-point peer stands for is among the routes.
		p, ok := prefixFrom(a.IPNet)
		if name, other := names[a.LinkIndex]; ok && other {
			claims = append(claims, claim{prefix: p, link: name})
		}
	}
	return claims, nil
}

// routeClaims lists the destinations routed to the interfaces in names, in
// every table: policy rules may let any of them come before the main one.
func routeClaims(names map[int]string) ([]claim, error) {
	routes, err := dump(allRoutes)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var claims []claim
	for _, r := range routes {
		p, ok := prefixFrom(r.Dst)
		// The local table repeats the addresses.
		if !ok || r.Type != unix.RTN_UNICAST || r.Table == unix.RT_TABLE_LOCAL {
			continue
		}
		for _, hop := range hops(r) {
			if name, ok := names[hop.LinkIndex]; ok {
				claims = append(claims, claim{p, name, hop.Gw != nil || hop.Via != nil})
			}
		}
	}
	return claims, nil
}

func allRoutes() ([]netlink.Route, error) {
	return netlink.RouteListFiltered(netlink.FAMILY_ALL,
		&netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
}

// hops returns the next hops of r, multipath or not.
func hops(r netlink.Route) []*netlink.NexthopInfo {
	if len(r.MultiPath) > 0 {
		return r.MultiPath
	}
	return []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
}
