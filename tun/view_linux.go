package tun

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// view is what a peer-to-peer path depends on, on this host.
type view struct {
	addrs    []netip.Addr   // as LocalAddrs
	defaults []defaultRoute // sorted
}

// defaultRoute is one way out, as far as a change of it changes paths.
type defaultRoute struct {
	gateway netip.Addr // invalid where the link itself is the way out
	link    int        // interface index
	metric  int
}

func (v view) equal(other view) bool {
	return slices.Equal(v.addrs, other.addrs) && slices.Equal(v.defaults, other.defaults)
}

// look takes the view of the calling thread's network namespace.
func look() (view, error) {
	links, err := uplinks()
	if err != nil {
		return view{}, err
	}
	addrs, err := localAddrs(links)
	if err != nil {
		return view{}, err
	}
	routes, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return view{}, fmt.Errorf("list routes: %w", err)
	}
	return view{addrs, defaultRoutes(routes, links)}, nil
}

// defaultRoutes picks the default routes through links out of the main table's.
func defaultRoutes(routes []netlink.Route, links map[int]bool) []defaultRoute {
	var defaults []defaultRoute
	for _, r := range routes {
		if p, ok := prefixFrom(r.Dst); !ok || p.Bits() > 0 || r.Type != unix.RTN_UNICAST {
			continue
		}
		for _, hop := range hops(r) {
			if links[hop.LinkIndex] {
				gw, _ := netip.AddrFromSlice(hop.Gw)
				defaults = append(defaults, defaultRoute{gw.Unmap(), hop.LinkIndex, r.Priority})
			}
		}
	}
	slices.SortFunc(defaults, func(a, b defaultRoute) int {
		return cmp.Or(a.gateway.Compare(b.gateway), a.link-b.link, a.metric-b.metric)
	})
	return defaults
}

// subscription is the kernel's stream of link, address and route changes. Its
// socket belongs to the network namespace of the thread that opened it.
type subscription struct {
	sock *nl.NetlinkSocket
}

func subscribe() (source, error) {
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to network changes: %w", err)
	}
	return &subscription{sock}, nil
}

// Receive waits for a message. What it says does not matter: whoever is told
// looks for himself. So an overflow, which loses messages and would end the
// library's own subscriptions, is no more than another change.
func (s *subscription) Receive() error {
	_, _, err := s.sock.Receive()
	if errors.Is(err, unix.ENOBUFS) {
		return nil
	}
	return err
}

func (s *subscription) Close() { s.sock.Close() }
