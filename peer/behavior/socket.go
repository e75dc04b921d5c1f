package behavior

import (
	"fmt"
	"net"
	"net/netip"
)

// udpSocket is a Socket of the system.
type udpSocket struct{ *net.UDPConn }

// Open opens a socket of the system on any port of one family.
func Open(ipv4 bool) (Socket, error) {
	network := "udp6"
	if ipv4 {
		network = "udp4"
	}
	c, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, fmt.Errorf("open a socket for tests: %w", err)
	}
	return udpSocket{c}, nil
}

func (s udpSocket) Port() uint16 { return s.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

func (s udpSocket) WriteTo(b []byte, to netip.AddrPort) error {
	_, err := s.WriteToUDPAddrPort(b, to)
	return err
}

func (s udpSocket) ReadFrom(b []byte) (int, netip.AddrPort, error) { return s.ReadFromUDPAddrPort(b) }

// ownAddresses knows the addresses that this machine's interfaces have now.
func ownAddresses() func(netip.Addr) bool {
	own := make(map[netip.Addr]bool)
	all, _ := net.InterfaceAddrs() // without them everything is behind a NAT
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own[p.Addr().Unmap()] = true
		}
	}
	return func(a netip.Addr) bool { return own[a] }
}

// Wrap makes a Socket of one that was opened elsewhere: in another network namespace,
// say.
func Wrap(c *net.UDPConn) Socket { return udpSocket{c} }
