package tun

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// dumpTries is how often an interrupted dump is asked for again.
const dumpTries = 5

// dump calls list until the kernel gave a consistent answer: when the table
// changes during the dump, the result may lack entries and says so.
func dump[T any](list func() ([]T, error)) (entries []T, err error) {
	for range dumpTries {
		entries, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return entries, err
		}
	}
	return nil, err
}

// prefixFrom turns n into the masked prefix; false for nil and for what is no IP
// network (MPLS routes).
func prefixFrom(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, bits := n.Mask.Size()
	if bits == 32 {
		addr = addr.Unmap()
	}
	p, err := addr.Prefix(ones)
	return p, err == nil && bits == addr.BitLen()
}
