package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// setOptions prepares a new socket: large buffers, the local address told with
// each packet, and equal datagrams joined on receipt where gso is wanted.
func setOptions(network string, c syscall.RawConn, gso bool) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		s := int(fd)
		for _, o := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF, unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
			// FORCE passes net.core's limits and needs CAP_NET_ADMIN. Smaller
			// buffers only cost speed, so a refusal is no failure.
			_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, o, socketBuffer)
		}
		if gso {
			_ = unix.SetsockoptInt(s, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		}
		if network == "udp6" {
			failed = unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		} else {
			failed = unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
		failed = errors.Join(failed, setFragmentable(network, s))
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("prepare the socket: %w", err)
	}
	return nil
}

// supportsGSO reports whether the kernel knows UDP_SEGMENT (Linux 4.18).
func supportsGSO(c *net.UDPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	known := false
	err = raw.Control(func(fd uintptr) {
		_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		known = err == nil
	})
	return err == nil && known
}

// setMark sets SO_MARK on what the socket sends.
func (s *socket) setMark(mark uint32) error {
	c, ok := s.conn.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	})
	return errors.Join(err, failed)
}

// readControl reads the control messages of a received packet. Unknown and
// broken ones are passed over: the packet itself is good.
func readControl(oob []byte) (a arrival) {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return a
		}
		oob = rest
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			a.ifindex = int(int32(binary.NativeEndian.Uint32(data)))
			a.local = netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			a.local = netip.AddrFrom16([16]byte(data))
			a.ifindex = int(int32(binary.NativeEndian.Uint32(data[16:])))
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			a.segment = int(int32(binary.NativeEndian.Uint32(data)))
		}
	}
	return a
}

// sourceControl returns the control message that sends from local, by the
// interface unless that is 0.
func sourceControl(local netip.Addr, ifindex int) []byte {
	if local.Is4() {
		return unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(ifindex), Spec_dst: local.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: local.As16(), Ifindex: uint32(ifindex)})
}

// appendSegment appends the control message that has the kernel cut a send
// into datagrams of size bytes.
func appendSegment(oob []byte, size int) []byte {
	at := len(oob)
	oob = append(oob, segmentControl...)
	binary.NativeEndian.PutUint16(oob[at+unix.CmsgLen(0):], uint16(size))
	return oob
}

// segmentControl is an UDP_SEGMENT message of size 0.
var segmentControl = func() []byte {
	b := make([]byte, unix.CmsgSpace(2))
	// struct cmsghdr: a length as wide as the platform's word, then level and
	// type in four bytes each.
	word := unix.SizeofCmsghdr - 8
	if word == 8 {
		binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(2)))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(unix.CmsgLen(2)))
	}
	binary.NativeEndian.PutUint32(b[word:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(b[word+4:], unix.UDP_SEGMENT)
	return b
}()
