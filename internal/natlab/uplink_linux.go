package natlab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An Uplink is one of a host's connections to a network. Safe for concurrent use.
type Uplink struct {
	host *Host
	link *attachment // guarded by lab.mu
	next netip.Addr  // hop, of what is not on the link
}

// spareMetric is that of the default route through the second uplink, when another
// is the best; each further one counts for less.
const spareMetric = 100

// AddUplink attaches the host to another LAN as well, by an interface of its own
// (eth1, eth2, …). It has an address there and, until Prefer or DefaultVia says so,
// no default route: what is sent there leaves by the others.
func (h *Host) AddUplink(n *NAT, opts ...Option) (*Uplink, error) {
	c := configure(opts)
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	inside := end{h.ns, fmt.Sprintf("eth%d", 1+len(h.more))}
	a, err := h.lab.connect(inside, n, c.link)
	if err != nil {
		return nil, err
	}
	prefix, next, err := n.lease()
	if err != nil {
		return nil, err
	}
	if err := h.ns.addAddr(inside.name, prefix); err != nil {
		return nil, err
	}
	a.addrs = append(a.addrs, prefix)
	u := &Uplink{h, a, next}
	h.more = append(h.more, u)
	return u, n.deliver(a.outside, prefix.Addr())
}

// FirstUplink is the connection that the host was made with.
func (h *Host) FirstUplink() *Uplink {
	return &Uplink{h, h.link, h.link.next}
}

// Addr returns the host's address there.
func (u *Uplink) Addr() netip.Addr {
	u.host.lab.mu.Lock()
	defer u.host.lab.mu.Unlock()
	return u.link.addr()
}

// Unplug cuts this connection, as [Host.Unplug] cuts the first; Plug ends that.
func (u *Uplink) Unplug() error { return u.host.lab.setUp(u.link, false) }

// Plug connects it again.
func (u *Uplink) Plug() error { return u.host.lab.setUp(u.link, true) }

// Prefer makes the host's best default route lead through u. Those through the
// other uplinks stay, for who asks for them by their interface.
func (h *Host) Prefer(u *Uplink) error { return h.lab.routeVia(u, true) }

// DefaultVia makes u the only way out of the host: through the other uplinks it
// reaches no more than their LANs.
func (h *Host) DefaultVia(u *Uplink) error { return h.lab.routeVia(u, false) }

func (l *Lab) routeVia(best *Uplink, spare bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := best.host
	all := append([]*Uplink{h.FirstUplink()}, h.more...)
	// The spare ones first: at no time is the host without a default route.
	for i, u := range all {
		if spare && u.link != best.link {
			if err := u.setDefault(spareMetric+i, true); err != nil {
				return err
			}
		}
	}
	if err := best.setDefault(0, true); err != nil {
		return err
	}
	for i, u := range all {
		if !spare || u.link == best.link {
			if err := u.setDefault(spareMetric+i, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// setDefault adds or removes the default route of that metric through u. What has
// the metric already is replaced.
func (u *Uplink) setDefault(metric int, want bool) error {
	n := u.host.ns
	return n.onLink(u.link.inside.name, "route all to", func(link netlink.Link) error {
		r := &netlink.Route{
			LinkIndex: link.Attrs().Index, Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0)),
			Gw: u.next.AsSlice(), Flags: int(netlink.FLAG_ONLINK), Priority: metric,
		}
		if want {
			return n.handle.RouteReplace(r)
		}
		if err := n.handle.RouteDel(r); !errors.Is(err, unix.ESRCH) {
			return err
		}
		return nil
	})
}
