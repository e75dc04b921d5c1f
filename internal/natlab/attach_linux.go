package natlab

import "net/netip"

// An upstream is what a host or a NAT can be attached to: the core, or the LAN
// of a NAT. Its methods are called with the lab's lock held.
type upstream interface {
	// socket names a new interface for a customer; cable makes it.
	socket() end
	// connected takes the interface, once it works, into service.
	connected(outside end) error
	// lease returns an address that is not in use, and the next hop.
	lease() (netip.Prefix, netip.Addr, error)
	// deliver sends the packets for an address to the customer.
	deliver(outside end, addr netip.Addr) error

	// connected6 has the interface carry IPv6 as well. It may be repeated.
	connected6(outside end) error
	// lease6 is lease for IPv6. The next hop is always nextHop6.
	lease6() (netip.Prefix, error)
}

// An attachment is a customer's connection to its upstream. Guarded by the
// lab's lock.
type attachment struct {
	inside   end // the customer's interface
	outside  end // the upstream's interface, at the other end of the cable
	carrier  end // the interface that gives inside its carrier, often outside
	upstream upstream
	addrs    []netip.Prefix // the first is the one with the default route
	next     netip.Addr     // hop of the default route

	addrs6    []netip.Prefix // of IPv6; the last is the one that is not deprecated
	networks6 []netip.Prefix // behind the customer
	temporary bool           // the kernel makes addresses beside them (RFC 8981)
}

// attach connects ns to the upstream by an interface of that name, with an
// address and a default route of each of its families. l.mu is held.
func (l *Lab) attach(inside end, up upstream, c config) (*attachment, error) {
	a, err := l.connect(inside, up, c.link)
	if err != nil {
		return nil, err
	}
	a.temporary = c.temporary
	if !c.only6 {
		if err := a.addAddr(); err != nil {
			return nil, err
		}
	}
	if c.ipv6 {
		if err := a.addAddr6(); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// connect is attach without the address and the route. l.mu is held.
func (l *Lab) connect(inside end, up upstream, link Link) (*attachment, error) {
	a := &attachment{inside: inside, outside: up.socket(), upstream: up}
	var err error
	if a.carrier, err = l.cable(a.inside, a.outside, link); err != nil {
		return nil, err
	}
	if err := up.connected(a.outside); err != nil {
		return nil, err
	}
	return a, nil
}

// addr returns the attachment's first address, of IPv4 where it has that;
// invalid if it has lost its own and got no other.
func (a *attachment) addr() netip.Addr {
	if len(a.addrs) == 0 {
		return a.addr6()
	}
	return a.addrs[0].Addr()
}

// addAddr leases one more address.
func (a *attachment) addAddr() error {
	prefix, gateway, err := a.upstream.lease()
	if err != nil {
		return err
	}
	if err := a.inside.ns.addAddr(a.inside.name, prefix); err != nil {
		return err
	}
	a.addrs, a.next = append(a.addrs, prefix), gateway
	if err := a.upstream.deliver(a.outside, prefix.Addr()); err != nil {
		return err
	}
	return a.inside.ns.route(a.inside.name, netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway)
}

// renumber gives up all addresses for a new one. The old ones go first: the
// kernel would take the new one for an alias of an old and drop both.
func (a *attachment) renumber() error {
	for _, p := range a.addrs {
		if err := a.inside.ns.delAddr(a.inside.name, p); err != nil {
			return err
		}
	}
	a.addrs = nil
	return a.addAddr()
}

// setUp pulls or plugs in the cable at its far ends: the customer loses the
// carrier but keeps its addresses and routes.
func (a *attachment) setUp(up bool) error {
	for _, e := range []end{a.outside, a.carrier} {
		set := e.ns.down
		if up {
			set = e.ns.up
		}
		if err := set(e.name); err != nil {
			return err
		}
	}
	if !up {
		return nil
	}
	for _, e := range []end{a.inside, a.outside} {
		if err := e.ns.ready(e.name); err != nil {
			return err
		}
	}
	for _, p := range a.addrs {
		if err := a.upstream.deliver(a.outside, p.Addr()); err != nil {
			return err
		}
	}
	return a.plugged6()
}
