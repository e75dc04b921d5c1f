package tunnel

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/tun"
)

// networkChanged takes what tun.Watch tells, on its goroutine. Where the addresses
// are the same, the sessions have to be told that the network is another.
func (n *Node) networkChanged(d *device, addrs []netip.Addr, why string) {
	n.networkMoves(d)
	n.findOverlays(d)
	if !n.setAddresses(d, addrs) && why != "" {
		d.underlay.Changed(why)
	}
	has := hasAddress
	if why != "" && why != tun.AddressesChanged {
		has = sendsFrom
	}
	n.networkMoved(d, has)
}

// findOverlays keeps what other overlays and containers route from being taken for a
// way to a peer.
func (n *Node) findOverlays(d *device) {
	prefixes, err := tun.OverlayPrefixes()
	if err != nil {
		n.log.Debug("other overlays are not known", "err", err)
		return
	}
	d.underlay.SetForeign(prefixes)
}

// networkMoves comes before anything is sent for a change.
func (n *Node) networkMoves(d *device) {
	n.moved.Store(time.Now().UnixNano())
	n.found.Store(nil)
	d.underlay.SetBlocked(false) // until it is known of the new one
	signal(n.look)
	d.bind.NetworkChanged()
}

// networkMoved tells all but the sessions that the network may be another; has
// says whether a connection from an address can go on. It is called from any
// goroutine.
func (n *Node) networkMoved(d *device, has func(netip.Addr) bool) {
	signal(d.moved)
	n.hub.Moved(has)
	d.lan.changed()
}

// suspectHub has the connection to the hub looked at, where paths fail: what ended
// them may have ended it as well.
func (n *Node) suspectHub(remapped bool) {
	if remapped {
		signal(n.look)
		n.hub.Renew()
		return
	}
	n.hub.Probe()
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

// somewhere is an address of the internet. Nothing is sent there.
const somewhere = "193.0.14.129:9"

// sendsFrom says whether this machine has the address, and would choose it for the
// internet. Where the default route has moved to another uplink, packets of a
// connection from the old one's address leave by the new one, whose NAT makes them
// another connection's. Of IPv6 it is not known: temporary addresses take turns.
func sendsFrom(a netip.Addr) bool {
	if !a.Is4() {
		return hasAddress(a)
	}
	c, err := net.Dial("udp4", somewhere)
	if err != nil {
		return hasAddress(a) // no way is better
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap() == a
}
