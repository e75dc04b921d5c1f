package tun

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Restore puts back what something else has taken from the interface, its
// addresses and its routes, and returns how many of them. When an interface was
// down, which its owner may well want, most of them are gone; so nothing is done
// while it is.
//
// It may be repeated, and is not to be called after Close.
func (i *Interface) Restore() (restored int, err error) {
	link, err := netlink.LinkByIndex(i.index)
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", i.name, err)
	}
	if link.Attrs().RawFlags&unix.IFF_UP == 0 {
		return 0, nil
	}
	// The lock also keeps a route from coming back that SetMTU takes away.
	i.mu.Lock()
	defer i.mu.Unlock()
	var errs []error
	note := func(what any, err error) {
		switch {
		case err == nil:
			restored++
		case !errors.Is(err, unix.EEXIST):
			errs = append(errs, fmt.Errorf("interface %s: restore %s: %w", i.name, what, err))
		}
	}
	for _, p := range i.prefixes { // first: the routes name them
		if !p.Addr().Is6() || !i.ipv4Only {
			note(p, addAddr(link, p))
		}
	}
	for _, r := range i.networkRoutes() {
		note(r.Dst, netlink.RouteAdd(r))
	}
	for a, mtu := range i.mtus {
		note(a, netlink.RouteAdd(i.route(netip.PrefixFrom(a, a.BitLen()), i.network(a).Addr(), mtu)))
	}
	return restored, errors.Join(errs...)
}

// mend is Restore for Watch.
func (i *Interface) mend(log *slog.Logger) {
	restored, err := i.Restore()
	if restored > 0 {
		log.Warn("something took away addresses or routes of the interface; they are put back", "interface", i.name, "count", restored)
	}
	if err != nil {
		log.Warn("the interface is not as it should be", "err", err)
	}
}
