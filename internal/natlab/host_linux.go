package natlab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// A Host is a machine with one interface, eth0, in the public internet or
// behind a NAT; AddUplink gives it more. Safe for concurrent use.
type Host struct {
	lab     *Lab
	ns      *namespace
	spawner *spawner    // of its commands
	link    *attachment // guarded by lab.mu, as what follows
	more    []*Uplink
}

// PublicHost attaches a host with a public address to the core.
func (l *Lab) PublicHost(name string, opts ...Option) (*Host, error) {
	return l.newHost(l.core, name, opts)
}

// Host attaches a host to the NAT's LAN.
func (n *NAT) Host(name string, opts ...Option) (*Host, error) {
	return n.lab.newHost(n, name, opts)
}

func (l *Lab) newHost(up upstream, name string, opts []Option) (*Host, error) {
	c := configure(opts)
	l.mu.Lock()
	defer l.mu.Unlock()
	if n, ok := up.(*NAT); ok { // a LAN's families are its router's
		c.ipv6, c.only6 = n.prefix6.IsValid() && !c.noIPv6, n.only6
	}
	ns, err := l.namespace(name)
	if err != nil {
		return nil, err
	}
	disable := "0"
	if c.noIPv6 {
		disable = "1"
	}
	// A new namespace takes some of the machine's settings over; a host here is
	// the same on every machine. Its IPv6 addresses are usable at once, as
	// nothing else can have them.
	err = ns.sysctl(
		"ipv4/ip_forward", "0",
		"ipv4/conf/all/rp_filter", "0",
		"ipv4/conf/default/rp_filter", "0",
		"ipv6/conf/all/disable_ipv6", disable,
		"ipv6/conf/default/disable_ipv6", disable,
		"ipv6/conf/all/accept_dad", "0",
		"ipv6/conf/default/accept_dad", "0",
	)
	if err != nil {
		return nil, err
	}
	if c.temporary {
		err = ns.sysctl("ipv6/conf/all/use_tempaddr", "2", "ipv6/conf/default/use_tempaddr", "2")
		if err != nil {
			return nil, err
		}
	}
	h := &Host{lab: l, ns: ns, spawner: l.spawner}
	if h.link, err = l.attach(end{ns, "eth0"}, up, c); err != nil {
		return nil, err
	}
	if n, ok := up.(*NAT); ok {
		n.customers = append(n.customers, h.link)
		if n.resolver.IsValid() {
			h.spawner, err = n.resolving()
		}
	}
	return h, err
}

// Name returns the name it was made with.
func (h *Host) Name() string { return h.ns.name }

// Addr returns the host's first address.
func (h *Host) Addr() netip.Addr {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	return h.link.addr()
}

// Addr6 returns the host's newest stable IPv6 address; invalid if it has none.
func (h *Host) Addr6() netip.Addr {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	return h.link.addr6()
}

// AddAddr gives the host one more address of its network and returns it.
func (h *Host) AddAddr() (netip.Addr, error) {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	if err := h.link.addAddr(); err != nil {
		return netip.Addr{}, err
	}
	return h.link.addrs[len(h.link.addrs)-1].Addr(), nil
}

// AddIPv6 gives the host an IPv6 address. It has the LAN for its prefix and no
// router.
func (h *Host) AddIPv6(p netip.Prefix) error {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	return h.ns.addAddr(h.link.inside.name, p)
}

// SetLink changes what the host's link does to the packets that come from now
// on. It has to be an emulated one, and keeps its MTU.
func (h *Host) SetLink(k Link) error {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	return h.lab.setLink(h.link, func(now *Link) { *now = k })
}

// Swallow is [Host.SetLink] for [Link.Swallow] alone.
func (h *Host) Swallow(size int) error {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	return h.lab.setLink(h.link, func(now *Link) { now.Swallow = size })
}

// Renumber replaces the host's IPv4 addresses by a new one.
func (h *Host) Renumber() error {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	return h.link.renumber()
}

// Unplug cuts the host off its network: eth0 loses the carrier and keeps its
// configuration. Plug ends that.
func (h *Host) Unplug() error { return h.lab.setUp(h.link, false) }

// Plug connects the host to its network again.
func (h *Host) Plug() error { return h.lab.setUp(h.link, true) }

func (l *Lab) setUp(a *attachment, up bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return a.setUp(up)
}

// Do runs fn on a thread inside the host, and returns its error. Sockets that
// fn opens belong to the host for ever; goroutines that it starts do not run
// inside.
func (h *Host) Do(fn func() error) error { return h.ns.do(fn) }

// ListenUDP opens a UDP socket on the host. A zero addr is any IPv4 address
// and port.
func (h *Host) ListenUDP(addr netip.AddrPort) (conn *net.UDPConn, err error) {
	if !addr.Addr().IsValid() {
		addr = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
	}
	err = h.Do(func() error {
		conn, err = net.ListenUDP("udp"+family(addr.Addr()), net.UDPAddrFromAddrPort(addr))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("natlab: %s: %w", h.Name(), err)
	}
	return conn, nil
}

// ListenTCP opens a listening TCP socket on the host. A zero addr is any IPv4
// address and port.
func (h *Host) ListenTCP(addr netip.AddrPort) (ln *net.TCPListener, err error) {
	if !addr.Addr().IsValid() {
		addr = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
	}
	err = h.Do(func() error {
		ln, err = net.ListenTCP("tcp"+family(addr.Addr()), net.TCPAddrFromAddrPort(addr))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("natlab: %s: %w", h.Name(), err)
	}
	return ln, nil
}

// DialTCP connects from the host.
func (h *Host) DialTCP(ctx context.Context, addr netip.AddrPort) (conn *net.TCPConn, err error) {
	err = h.Do(func() error {
		var d net.Dialer
		conn, err = d.DialTCP(ctx, "tcp", netip.AddrPort{}, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("natlab: %s: %w", h.Name(), err)
	}
	return conn, nil
}

// family is what to append to the name of a network: an IPv4 socket is not to
// be an IPv6 one that shows mapped addresses.
func family(addr netip.Addr) string {
	if addr.Is4() {
		return "4"
	}
	return "6"
}
