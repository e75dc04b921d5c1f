package tun

import "golang.org/x/sys/unix"

// LANs returns the interfaces on which other machines hear multicast: those whose
// addresses LocalAddrs has, but for point-to-point ones.
func LANs() ([]LAN, error) {
	links, err := uplinks(unix.IFF_MULTICAST, unix.IFF_POINTOPOINT)
	if err != nil {
		return nil, err
	}
	found, err := localPrefixes(links)
	if err != nil {
		return nil, err
	}
	var lans []LAN
	for index, prefixes := range found {
		lans = append(lans, LAN{Index: index, Addresses: prefixes})
	}
	return lans, nil
}
