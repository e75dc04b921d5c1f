package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/p2ptun/p2ptun/tun"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// openLAN opens the sockets for beacons, and joins the groups on the links. Several
// nodes of one machine have such sockets. It returns those that there are, and an
// error if there is none.
func openLAN(links []tun.LAN) (sockets []lanSocket, err error) {
	four, err4 := listenLAN("udp4", unix.IPPROTO_IP, unix.IP_MULTICAST_ALL)
	if err4 == nil {
		s := &lan4{conn: four, p: ipv4.NewPacketConn(four), group: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(lanGroup4), lanPort))}
		_ = s.p.SetControlMessage(ipv4.FlagInterface, true)
		for _, l := range links {
			_ = s.p.JoinGroup(&net.Interface{Index: l.Index}, s.group) // one without IPv4
		}
		sockets = append(sockets, s)
	}
	six, err6 := listenLAN("udp6", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL)
	if err6 == nil {
		s := &lan6{conn: six, p: ipv6.NewPacketConn(six), group: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(lanGroup6), lanPort))}
		_ = s.p.SetControlMessage(ipv6.FlagInterface, true)
		for _, l := range links {
			_ = s.p.JoinGroup(&net.Interface{Index: l.Index}, s.group)
		}
		sockets = append(sockets, s)
	}
	if len(sockets) == 0 {
		return nil, errors.Join(err4, err6)
	}
	return sockets, nil
}

// listenLAN opens a socket on the beacons' port that hears its own groups alone.
func listenLAN(network string, level, all int) (*net.UDPConn, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.SetsockoptInt(int(fd), level, all, 0))
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	conn, err := c.ListenPacket(context.Background(), network, fmt.Sprintf(":%d", lanPort))
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// lan4 is the socket of IPv4.
type lan4 struct {
	conn  *net.UDPConn
	p     *ipv4.PacketConn
	group *net.UDPAddr
}

func (s *lan4) ipv4() bool { return true }
func (s *lan4) close()     { s.conn.Close() }

func (s *lan4) send(b []byte, index int) error {
	_, err := s.p.WriteTo(b, &ipv4.ControlMessage{IfIndex: index}, s.group)
	return err
}

func (s *lan4) receive(b []byte) (n, index int, err error) {
	n, cm, _, err := s.p.ReadFrom(b)
	if cm != nil {
		index = cm.IfIndex
	}
	return n, index, err
}

// lan6 is the socket of IPv6.
type lan6 struct {
	conn  *net.UDPConn
	p     *ipv6.PacketConn
	group *net.UDPAddr
}

func (s *lan6) ipv4() bool { return false }
func (s *lan6) close()     { s.conn.Close() }

func (s *lan6) send(b []byte, index int) error {
	_, err := s.p.WriteTo(b, &ipv6.ControlMessage{IfIndex: index}, s.group)
	return err
}

func (s *lan6) receive(b []byte) (n, index int, err error) {
	n, cm, _, err := s.p.ReadFrom(b)
	if cm != nil {
		index = cm.IfIndex
	}
	return n, index, err
}
