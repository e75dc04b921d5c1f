package tun

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LANs returns the interfaces on which other machines hear multicast: those whose
// addresses LocalAddrs has, but for point-to-point ones.
func LANs() ([]LAN, error) {
	links, err := uplinks()
	if err != nil {
		return nil, err
	}
	all, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range all {
		if f := l.Attrs().RawFlags; f&unix.IFF_MULTICAST == 0 || f&unix.IFF_POINTOPOINT != 0 {
			delete(links, l.Attrs().Index)
		}
	}
	list, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	found := make(map[int][]netip.Prefix)
	for _, a := range list {
		if a.IPNet == nil || !links[a.LinkIndex] {
			continue
		}
		addr, ok := netip.AddrFromSlice(a.IP)
		if ones, _ := a.Mask.Size(); ok && isUsable(addr.Unmap(), a.Flags) {
			found[a.LinkIndex] = append(found[a.LinkIndex], netip.PrefixFrom(addr.Unmap(), ones))
		}
	}
	var lans []LAN
	for index, prefixes := range found {
		lans = append(lans, LAN{Index: index, Addresses: prefixes})
	}
	return lans, nil
}
