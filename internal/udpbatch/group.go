package udpbatch

import (
	"net"
	"net/netip"
)

// Listen opens up to n sockets on one address, between which the kernel
// spreads senders: all that comes from one address and port comes to one of
// them, as long as all are open. It is one socket where the system cannot
// spread. Nobody else can have the address: another process, or another Listen,
// gets EADDRINUSE.
func Listen(addr netip.AddrPort, n int) ([]*Conn, error) {
	udp, err := net.ListenUDP(Network(addr.Addr()), net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	all := []*net.UDPConn{udp}
	if n > 1 {
		all = append(all, others(udp, n-1)...)
	}
	group := make([]*Conn, len(all))
	for i, udp := range all {
		if group[i], err = New(udp); err != nil {
			for _, udp := range all {
				udp.Close()
			}
			return nil, err
		}
	}
	return group, nil
}

// Network keeps the families apart: a "udp6" socket takes no IPv4.
func Network(a netip.Addr) string {
	if a.Is4() {
		return "udp4"
	}
	return "udp6"
}
