package tunnel

import (
	"net"
	"net/netip"
	"slices"
)

// networkChanged takes what tun.Watch tells, on its goroutine. Where the addresses
// are the same, the sessions have to be told that the network is another.
func (n *Node) networkChanged(d *device, addrs []netip.Addr, why string) {
	d.bind.NetworkChanged() // before anything is sent for the change
	if !d.underlay.SetAddresses(addrs) && why != "" {
		d.underlay.Changed(why)
	}
	n.networkMoved(d)
}

// networkMoved tells all but the sessions that the network may be another. It is
// called from any goroutine.
func (n *Node) networkMoved(d *device) {
	select {
	case d.moved <- struct{}{}:
	default:
	}
	n.hub.Moved(hasAddress)
}

// hasAddress says whether any interface has the address: also one that peers
// are not told.
func hasAddress(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(all, func(i net.Addr) bool {
		p, err := netip.ParsePrefix(i.String())
		return err == nil && p.Addr().Unmap() == a
	})
}
