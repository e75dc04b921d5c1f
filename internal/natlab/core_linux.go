package natlab

import (
	"errors"
	"fmt"
	"net/netip"
)

// coreAddr is the core's own address, the next hop of everything public.
var coreAddr = netip.MustParseAddr("192.0.2.1")

// The public addresses are those for documentation (RFC 5737), dealt out in
// turn so that neighbours in a topology are not neighbours in a prefix.
var publicPrefixes = [3][3]byte{{192, 0, 2}, {198, 51, 100}, {203, 0, 113}}

// publicPerPrefix is how many hosts each of them has room for.
const publicPerPrefix = 250

// core routes between all public addresses. Each customer has a /32 and a
// default route to a next hop outside of it, as at many hosters.
type core struct {
	ns       *namespace
	sockets  int // interfaces made
	assigned int // public addresses given out

	hosts6, networks6 int // IPv6 addresses and prefixes given out
}

func newCore(l *Lab) (*core, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ns, err := l.namespace("core")
	if err != nil {
		return nil, err
	}
	if err := ns.router(); err != nil {
		return nil, err
	}
	if err := ns.addAddr("lo", netip.PrefixFrom(coreAddr, 32)); err != nil {
		return nil, err
	}
	return &core{ns: ns}, nil
}

func (c *core) socket() end {
	c.sockets++
	return end{c.ns, fmt.Sprintf("customer%d", c.sockets)}
}

func (c *core) connected(end) error { return nil }

func (c *core) lease() (netip.Prefix, netip.Addr, error) {
	if c.assigned >= len(publicPrefixes)*publicPerPrefix {
		return netip.Prefix{}, netip.Addr{}, errors.New("natlab: no public address is left")
	}
	p := publicPrefixes[c.assigned%len(publicPrefixes)]
	addr := netip.AddrFrom4([4]byte{p[0], p[1], p[2], byte(2 + c.assigned/len(publicPrefixes))})
	c.assigned++
	return netip.PrefixFrom(addr, 32), coreAddr, nil
}

func (c *core) deliver(outside end, addr netip.Addr) error {
	return c.ns.route(outside.name, netip.PrefixFrom(addr, addr.BitLen()), netip.Addr{})
}
