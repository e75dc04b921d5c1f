package udpbatch

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scatter reads a run of joined datagrams each into its own buffer, with no
// copying, when they are as large as those of the last run:
//
//	bufs[0] ◄─ datagram 1 ─┬─ datagram 2 ─► bufs[1]   …   the rest ─► whole
//
// Where that guess was wrong they are gathered, and copied apart.
type scatter struct {
	header  unix.Msghdr
	name    unix.RawSockaddrInet6 // either family's fits
	control [16]uint64
	iovecs  []unix.Iovec
	whole   []byte
	guess   int
	try     func(fd uintptr) bool
	n       int
	errno   syscall.Errno
}

// The first guess, and how small one may be.
const (
	firstGuess = 1280
	minGuess   = 256
)

func newScatter() *scatter {
	s := &scatter{guess: firstGuess, whole: make([]byte, slotSize)}
	s.header.Name = (*byte)(unsafe.Pointer(&s.name))
	s.header.Control = (*byte)(unsafe.Pointer(&s.control))
	s.try = s.read
	return s
}

// Tell asks the kernel for the local address of each arrival.
func (c *Conn) Tell() (err error) {
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if c.isIPv6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	failed := c.raw.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), level, option, 1))
	})
	if failed != nil {
		return failed
	}
	return err
}

// ReadInto waits for datagrams and puts those of one sender, as the kernel has
// joined them, into bufs, one in each. bufs are of one length, with room for any
// datagram. It is for one goroutine, that does not use ReadBatch.
func (c *Conn) ReadInto(bufs [][]byte, sizes []int) (int, Arrival, error) {
	if c.scatter == nil {
		c.scatter = newScatter()
	}
	s := c.scatter
	s.layout(bufs)
	if err := c.raw.Read(s.try); err != nil {
		return 0, Arrival{}, err
	}
	if s.errno != 0 {
		return 0, Arrival{}, os.NewSyscallError("recvmsg", s.errno)
	}
	a, segment := s.arrival()
	return s.place(bufs, sizes, segment), a, nil
}

func (s *scatter) layout(bufs [][]byte) {
	s.iovecs = s.iovecs[:0]
	s.guess = min(s.guess, len(bufs[0]))
	left := slotSize
	for i := 0; i < len(bufs) && left > 0; i++ {
		s.iovecs = append(s.iovecs, iovec(bufs[i][:s.guess]))
		left -= s.guess
	}
	if left > 0 {
		s.iovecs = append(s.iovecs, iovec(s.whole[:left]))
	}
	s.header.Iov = unsafe.SliceData(s.iovecs)
	s.header.SetIovlen(len(s.iovecs))
	s.header.Namelen = unix.SizeofSockaddrInet6
	s.header.SetControllen(int(unsafe.Sizeof(s.control)))
}

func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: unsafe.SliceData(b)}
	v.SetLen(len(b))
	return v
}

// read reports whether it read, or failed.
func (s *scatter) read(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&s.header)), unix.MSG_DONTWAIT)
		if errno == unix.EINTR {
			continue
		}
		s.n, s.errno = int(n), errno
		return errno != unix.EAGAIN
	}
}

// place sees to it that each datagram is in its buffer, and returns how many
// there are.
func (s *scatter) place(bufs [][]byte, sizes []int, segment int) int {
	if segment <= 0 || segment > s.n {
		segment = s.n
	}
	count := 1
	if segment > 0 {
		count = min((s.n+segment-1)/segment, len(bufs))
	}
	for i := range count {
		sizes[i] = min(segment, s.n-i*segment)
	}
	if segment == s.guess || s.n <= s.guess && count == 1 {
		return count
	}
	s.gather(bufs)
	for i := range count {
		copy(bufs[i], s.whole[i*segment:][:sizes[i]])
	}
	if segment >= minGuess {
		s.guess = segment
	}
	return count
}

// gather puts the n bytes that were read together, in whole.
func (s *scatter) gather(bufs [][]byte) {
	read := min(len(bufs), (slotSize+s.guess-1)/s.guess) * s.guess // before whole
	if s.n > read {
		copy(s.whole[read:s.n], s.whole[:s.n-read])
	}
	at := 0
	for i := 0; at < min(s.n, read); i++ {
		at += copy(s.whole[at:min(s.n, read)], bufs[i][:s.guess])
	}
}

// arrival reads the sender and the control messages.
func (s *scatter) arrival() (a Arrival, segment int) {
	oob := unsafe.Slice((*byte)(unsafe.Pointer(&s.control)), unsafe.Sizeof(s.control))
	a, segment = readControl(oob[:s.header.Controllen])
	a.From = fromSockaddr(&s.name)
	return a, segment
}

// readControl reads control messages. Unknown and broken ones are passed over:
// the datagrams are good.
func readControl(oob []byte) (a Arrival, segment int) {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		oob = rest
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			a.Interface = int(int32(binary.NativeEndian.Uint32(data)))
			a.Local = netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			a.Local = netip.AddrFrom16([16]byte(data))
			a.Interface = int(int32(binary.NativeEndian.Uint32(data[16:])))
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			segment = int(int32(binary.NativeEndian.Uint32(data)))
		}
	}
	return a, segment
}

// Source returns the control message that sends from an address, by the
// interface of that index unless it is 0. See Run.From.
func Source(local netip.Addr, index int) []byte {
	if local.Is4() {
		return unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(index), Spec_dst: local.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: local.As16(), Ifindex: uint32(index)})
}
