package natlab

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// end is one end of a cable: an interface of a namespace.
type end struct {
	ns   *namespace
	name string
}

// onLink applies op to the interface.
func (n *namespace) onLink(iface, what string, op func(netlink.Link) error) error {
	if n.handle == nil {
		return errClosed
	}
	link, err := n.handle.LinkByName(iface)
	if err == nil {
		err = op(link)
	}
	if err != nil {
		return fmt.Errorf("natlab: %s %s in %s: %w", what, iface, n.name, err)
	}
	return nil
}

func (n *namespace) up(iface string) error {
	return n.onLink(iface, "set up", func(link netlink.Link) error { return n.handle.LinkSetUp(link) })
}

// readyTimeout bounds the kernel's work between a carrier and an interface that
// sends; about a second when the carrier comes and goes.
const readyTimeout = 10 * time.Second

// ready waits until the interface sends what it is given. Setting it up is not
// enough: the kernel learns of the carrier by a job of its own, and until that
// has run it drops every packet. It announces the change, but not reliably to
// a listener that may come late, so this asks.
func (n *namespace) ready(iface string) error {
	return n.await(iface, func(state netlink.LinkOperState) bool { return state == netlink.OperUp })
}

// await waits for a state of the interface.
func (n *namespace) await(iface string, good func(netlink.LinkOperState) bool) error {
	deadline := time.Now().Add(readyTimeout)
	for {
		var state netlink.LinkOperState
		err := n.onLink(iface, "look at", func(link netlink.Link) error {
			state = link.Attrs().OperState
			return nil
		})
		if err != nil || good(state) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("natlab: %s in %s stays %s", iface, n.name, state)
		}
		time.Sleep(time.Millisecond)
	}
}

func (n *namespace) down(iface string) error {
	return n.onLink(iface, "set down", func(link netlink.Link) error { return n.handle.LinkSetDown(link) })
}

func (n *namespace) addAddr(iface string, p netip.Prefix) error {
	return n.onLink(iface, "add "+p.String()+" to", func(link netlink.Link) error {
		return n.handle.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p)})
	})
}

func (n *namespace) delAddr(iface string, p netip.Prefix) error {
	return n.onLink(iface, "remove "+p.String()+" from", func(link netlink.Link) error {
		return n.handle.AddrDel(link, &netlink.Addr{IPNet: ipNet(p)})
	})
}

// route adds or replaces the route to dst. The next hop need not be in a
// prefix of the interface; without one, dst itself is on the link.
func (n *namespace) route(iface string, dst netip.Prefix, via netip.Addr) error {
	return n.onLink(iface, "route "+dst.String()+" to", func(link netlink.Link) error {
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(dst), Scope: unix.RT_SCOPE_LINK}
		if via.IsValid() {
			r.Scope, r.Gw, r.Flags = unix.RT_SCOPE_UNIVERSE, via.AsSlice(), int(netlink.FLAG_ONLINK)
		}
		return n.handle.RouteReplace(r)
	})
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// router makes the namespace forward, quietly: no redirects, no source
// checks, no limit on ICMP errors, and no IPv6 but where enable6 turns it on.
func (n *namespace) router() error {
	return n.sysctl(
		"ipv4/ip_forward", "1",
		"ipv4/conf/all/rp_filter", "0",
		"ipv4/conf/default/rp_filter", "0",
		"ipv4/conf/all/send_redirects", "0",
		"ipv4/conf/default/send_redirects", "0",
		// Hairpinned packets come in with the router's own address as source.
		"ipv4/conf/all/accept_local", "1",
		"ipv4/icmp_ratelimit", "0",
		"ipv6/conf/all/disable_ipv6", "1",
		"ipv6/conf/default/disable_ipv6", "1",
	)
}
