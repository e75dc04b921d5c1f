package tun

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
)

// overlayNames are the beginnings of interface names that lead into another
// overlay, or to containers and virtual machines on this host. Their addresses
// are no use to a peer, and a tunnel inside a tunnel is worse than none.
var overlayNames = []string{
	"wg", "wt", "tailscale", "zt", "utun", "nebula", // VPNs
	"docker", "veth", "podman", "cni", "flannel", "cali", "cilium", // containers
	"lxcbr", "lxdbr", "incusbr", "virbr", "vnet", // containers and virtual machines
}

// isOverlay says whether the interface called name, of the kernel's kind
// ("wireguard", "bridge", … or ""), belongs to an overlay or to containers.
func isOverlay(name, kind string) bool {
	if kind == "wireguard" {
		return true
	}
	for _, p := range overlayNames {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	// Docker calls its bridges br- and 12 hex digits; OpenWrt's br-lan, in
	// contrast, is the LAN itself.
	id, ok := strings.CutPrefix(name, "br-")
	return ok && len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
}

// Routes that take more than this are the way to the internet, not to an overlay:
// VPNs for all traffic have such.
const (
	overlayBits4 = 8
	overlayBits6 = 16
)

// OverlayPrefixes returns the networks that lead into other overlays, into containers
// and virtual machines on this host, or into a tunnel of p2ptun's: no address there is
// a way to a peer.
func OverlayPrefixes() ([]netip.Prefix, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := make(map[int]string)
	for _, l := range links {
		if a := l.Attrs(); isOurs(l) || isOverlay(a.Name, l.Type()) {
			names[a.Index] = a.Name
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	claims, err := routeClaims(names)
	if err != nil {
		return nil, err
	}
	var prefixes []netip.Prefix
	for _, c := range claims {
		least := overlayBits6
		if c.prefix.Addr().Is4() {
			least = overlayBits4
		}
		if c.prefix.Bits() >= least && !c.prefix.Addr().IsLinkLocalUnicast() && !c.prefix.Addr().IsMulticast() {
			prefixes = append(prefixes, c.prefix)
		}
	}
	return prefixes, nil
}
