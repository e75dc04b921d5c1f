package tun

import "net/netip"

// LAN is an interface that leads to a network where multicast is heard.
type LAN struct {
	Index     int
	Addresses []netip.Prefix // of this machine there, with the network's length
}

// Contains says whether an address is one of that network.
func (l LAN) Contains(a netip.Addr) bool {
	for _, p := range l.Addresses {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
