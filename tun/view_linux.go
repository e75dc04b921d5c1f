package tun

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// view is what a peer-to-peer path depends on, on this host.
type view struct {
	addrs []netip.Addr // as LocalAddrs
	ways  ways
}

// ways are the routes to the addresses of beyond.
type ways [len(beyond)]way

// beyond are addresses of the internet that the kernel is asked for its route to:
// one in each half of IPv4, for VPNs take both by a route each, and one of IPv6.
// That costs the same on a router that knows all the internet's networks, and
// heeds metrics and rules. Nothing is ever sent there.
var beyond = [...]netip.Addr{
	netip.MustParseAddr("8.0.0.1"), netip.MustParseAddr("193.0.14.129"), netip.MustParseAddr("2001:7fd::1"),
}

// way is one way out, as far as a change of it changes paths. The zero way is
// none.
type way struct {
	link    int        // interface index
	gateway netip.Addr // invalid where the link itself is the way out
	source  netip.Addr // IPv4: IPv6 takes temporary ones by turns
}

func (v view) equal(other view) bool {
	return slices.Equal(v.addrs, other.addrs) && v.ways == other.ways
}

// lacks says whether all that was before and is otherwise now is gone, and
// nothing has taken its place, or not yet.
func (v view) lacks(before view) bool {
	for i, w := range before.ways {
		if w != (way{}) && v.ways[i] == (way{}) {
			return true
		}
	}
	has := func(a netip.Addr) bool { return slices.Contains(before.addrs, a) }
	return len(v.addrs) < len(before.addrs) && !slices.ContainsFunc(v.addrs, func(a netip.Addr) bool { return !has(a) })
}

// since says in words what has changed.
func (v view) since(before view) string {
	switch {
	case v.ways == before.ways:
		return AddressesChanged
	case v.ways == ways{}:
		return "the default route is gone"
	case before.ways == ways{}:
		return "a default route has come"
	}
	return "the default route has moved"
}

// look takes the view of the calling thread's network namespace.
func look() (view, error) {
	links, err := uplinks(0, 0)
	if err != nil {
		return view{}, err
	}
	v := view{}
	if v.addrs, err = localAddrs(links); err != nil {
		return view{}, err
	}
	for i, a := range beyond {
		if v.ways[i], err = wayTo(a); err != nil {
			return view{}, fmt.Errorf("route to %s: %w", a, err)
		}
	}
	return v, nil
}

// wayTo asks the kernel which way it takes to an address.
func wayTo(a netip.Addr) (way, error) {
	routes, err := netlink.RouteGet(a.AsSlice())
	if isUnrouted(err) {
		return way{}, nil
	}
	if err != nil || len(routes) == 0 || routes[0].Type != unix.RTN_UNICAST {
		return way{}, err
	}
	w := way{link: routes[0].LinkIndex}
	if gw, ok := netip.AddrFromSlice(routes[0].Gw); ok {
		w.gateway = gw.Unmap()
	}
	if src, ok := netip.AddrFromSlice(routes[0].Src); ok && a.Is4() {
		w.source = src.Unmap()
	}
	return w, nil
}

// isUnrouted recognises how the kernel says that there is no route: none at all,
// one that forbids (prohibit, blackhole, unreachable), or no such protocol.
func isUnrouted(err error) bool {
	for _, e := range []unix.Errno{
		unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EAGAIN, unix.EAFNOSUPPORT, unix.EOPNOTSUPP,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
