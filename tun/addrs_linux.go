package tun

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LocalAddrs returns the host's addresses that a peer can be told (host
// candidates, RFC 8445 section 5.1.1.1), sorted: those of interfaces that are
// up and have a carrier, but not loopback, link-local, deprecated, temporary
// or unfinished ones, nor any of p2ptun's own interfaces, of other overlays or
// of container bridges.
func LocalAddrs() ([]netip.Addr, error) {
	links, err := uplinks(0, 0)
	if err != nil {
		return nil, err
	}
	return localAddrs(links)
}

// uplinks returns the indexes of the interfaces that lead to other machines, and have
// flags (IFF_…), but none of without.
func uplinks(flags, without uint32) (map[int]bool, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	indexes := make(map[int]bool)
	for _, l := range links {
		a := l.Attrs()
		// LOWER_UP rather than RUNNING, which follows up to a second later.
		want := unix.IFF_UP | unix.IFF_LOWER_UP | flags
		if a.RawFlags&want == want && a.RawFlags&(unix.IFF_LOOPBACK|without) == 0 &&
			!isOurs(l) && !isOverlay(a.Name, l.Type()) {
			indexes[a.Index] = true
		}
	}
	return indexes, nil
}

// localAddrs returns the usable addresses on links.
func localAddrs(links map[int]bool) ([]netip.Addr, error) {
	all, err := localPrefixes(links)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, prefixes := range all {
		for _, p := range prefixes {
			addrs = append(addrs, p.Addr())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), nil
}

// localPrefixes returns the usable addresses on links, by the link, each with what it
// says of its network.
func localPrefixes(links map[int]bool) (map[int][]netip.Prefix, error) {
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
		if addr = addr.Unmap(); ok && isUsable(addr, a.Flags) {
			ones, _ := a.Mask.Size()
			found[a.LinkIndex] = append(found[a.LinkIndex], netip.PrefixFrom(addr, ones))
		}
	}
	return found, nil
}

// isUsable says whether a peer can be told addr, which has the kernel's
// address flags (IFA_F_…).
func isUsable(addr netip.Addr, flags int) bool {
	if !addr.IsGlobalUnicast() {
		return false
	}
	if addr.Is4() {
		return true // IFA_F_SECONDARY has the value of TEMPORARY, and is fine
	}
	// A temporary address (RFC 8981) soon stops being one, and its stable
	// sibling on the same interface serves as well.
	const unusable = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
	return flags&unusable == 0
}
