package tun

import "strings"

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
