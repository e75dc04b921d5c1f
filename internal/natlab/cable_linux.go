package natlab

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// cable connects two namespaces by a new pair of interfaces, both up. An ideal
// link is a veth pair; any other is two of them with a wire between. It returns
// the interface that gives the first its carrier. l.mu is held.
func (l *Lab) cable(a, b end, link Link) (carrier end, err error) {
	if err := link.validate(); err != nil {
		return end{}, err
	}
	if link.ideal() {
		return b, veth(a, b, link.mtu())
	}
	return l.wire(a, b, link)
}

// veth makes a pair of interfaces, sets them up, and waits until they work.
func veth(a, b end, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = a.name, mtu
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: b.name, PeerNamespace: netlink.NsFd(b.ns.fd()), PeerMTU: uint32(mtu)}
	if err := a.ns.handle.LinkAdd(pair); err != nil {
		return fmt.Errorf("natlab: connect %s in %s to %s: %w", a.name, a.ns.name, b.ns.name, err)
	}
	for _, step := range []func(end) error{
		func(e end) error { return e.ns.up(e.name) },
		func(e end) error { return e.ns.ready(e.name) },
	} {
		if err := errors.Join(step(a), step(b)); err != nil {
			return err
		}
	}
	return nil
}

// singlePackets makes the kernel take batches (GSO) apart before the interface
// sends them.
func (e end) singlePackets() error {
	return e.ns.onLink(e.name, "limit batches on", func(link netlink.Link) error {
		return e.ns.handle.LinkSetGSOMaxSegs(link, 1)
	})
}
