package udpbatch

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls are raw: none of them blocks, and a batch takes longer than the
// scheduler likes to wait before it gives the processor to another thread.

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	n uint32 // bytes received, or sent
}

// control has room for one control message, and its alignment.
type control [3]uint64

func (c *control) bytes() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(c)), unsafe.Sizeof(*c)) }

// join asks for UDP_GRO (Linux 5.0) and reports whether there is UDP_SEGMENT
// (Linux 4.18).
func (c *Conn) join() (gso bool) {
	_ = c.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		gso = err == nil
	})
	return gso
}

// part ends what join asked for.
func (c *Conn) part() {
	_ = c.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 0) })
}

// SetBuffers asks for socket buffers of so many bytes, beyond the system's
// limits where the process may (CAP_NET_ADMIN). Smaller ones only lose more of
// a burst, so there is no error.
func (c *Conn) SetBuffers(bytes int) {
	_ = c.raw.Control(func(fd uintptr) {
		for _, o := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF, unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o, bytes)
		}
	})
}

// Missed is how many datagrams the system has dropped so far because nobody
// took them in time; ok is false where it does not tell, and once c is closed.
// It wraps.
func (c *Conn) Missed() (n uint32, ok bool) {
	var info [9]uint32 // SK_MEMINFO_VARS; the last is SK_MEMINFO_DROPS
	size := uint32(unsafe.Sizeof(info))
	err := c.raw.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		ok = errno == 0
	})
	return info[8], ok && err == nil
}

type batchSys struct {
	headers  [Slots]mmsghdr
	iovecs   [Slots]unix.Iovec
	names    [Slots]unix.RawSockaddrInet6 // either family's fits
	controls [Slots]control
	buffer   []byte
}

// batches are 2 MiB each, of which a datagram touches a page. A reader that
// waits has none.
var batches = sync.Pool{New: func() any {
	b := &Batch{}
	s := &b.sys
	s.buffer = make([]byte, Slots*slotSize)
	for i := range s.headers {
		h := &s.headers[i]
		h.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		h.Control = (*byte)(unsafe.Pointer(&s.controls[i]))
		h.Iov = &s.iovecs[i]
		h.SetIovlen(1)
		s.iovecs[i].Base = &s.buffer[i*slotSize]
		s.iovecs[i].SetLen(slotSize)
	}
	b.clear(Slots)
	return b
}}

// clear makes the first n headers ready for a read.
func (b *Batch) clear(n int) {
	for i := range b.sys.headers[:n] {
		b.sys.headers[i].Namelen = unix.SizeofSockaddrInet6
		b.sys.headers[i].SetControllen(int(unsafe.Sizeof(control{})))
	}
}

// ReadBatch waits for datagrams and returns those that are there.
func (c *Conn) ReadBatch() (*Batch, error) {
	if err := c.raw.Read(c.ready); err != nil {
		return nil, err
	}
	b, err := c.batch, c.err
	c.batch, c.err = nil, nil
	return b, err
}

// tryRead reports whether it read, or failed.
func (c *Conn) tryRead(fd uintptr) bool {
	b := batches.Get().(*Batch)
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.sys.headers)), Slots, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.parse(int(n))
			c.batch = b
			return true
		case unix.EINTR:
			continue
		}
		batches.Put(b)
		if errno == unix.EAGAIN {
			return false
		}
		c.err = os.NewSyscallError("recvmmsg", errno)
		return true
	}
}

// parse makes messages of the first n slots.
func (b *Batch) parse(n int) {
	s := &b.sys
	for i := range n {
		at := i * slotSize
		b.all[i] = message{
			data:    s.buffer[at : at+int(s.headers[i].n) : at+slotSize],
			segment: s.controls[i].segment(int(s.headers[i].Controllen)),
			from:    fromSockaddr(&s.names[i]),
		}
	}
	b.messages = b.all[:n]
	b.clear(n)
}

// segment reads the one control message there may be.
func (c *control) segment(n int) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(c))
	if n < unix.CmsgLen(4) || h.Level != unix.IPPROTO_UDP || h.Type != unix.UDP_GRO {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(c.bytes()[unix.CmsgLen(0):])))
}

// Release gives the batch back. What Next returned is not to be used any more.
func (b *Batch) Release() {
	b.messages = nil
	batches.Put(b)
}

func fromSockaddr(name *unix.RawSockaddrInet6) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:]) // at the same place in both
	if name.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr), port)
	}
	a := netip.AddrFrom16(name.Addr).Unmap()
	if name.Scope_id != 0 && a.Is6() {
		a = a.WithZone(strconv.FormatUint(uint64(name.Scope_id), 10)) // link-local
	}
	return netip.AddrPortFrom(a, port)
}

// toSockaddr writes the address and returns its size.
func toSockaddr(name *unix.RawSockaddrInet6, to netip.AddrPort) uint32 {
	*name = unix.RawSockaddrInet6{}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], to.Port())
	if to.Addr().Is4() {
		name.Family = unix.AF_INET
		(*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr = to.Addr().As4()
		return unix.SizeofSockaddrInet4
	}
	name.Family, name.Addr = unix.AF_INET6, to.Addr().As16()
	if zone := to.Addr().Zone(); zone != "" {
		if id, err := strconv.ParseUint(zone, 10, 32); err == nil {
			name.Scope_id = uint32(id)
		} else if i, err := net.InterfaceByName(zone); err == nil {
			name.Scope_id = uint32(i.Index)
		}
	}
	return unix.SizeofSockaddrInet6
}

type runSys struct {
	iovecs  [2 * MaxSegments]unix.Iovec
	headers [MaxSegments]mmsghdr
	name    unix.RawSockaddrInet6
	namelen uint32
	control [10]uint64 // a source and a segment size
	once    func(fd uintptr)
	until   func(fd uintptr) bool

	joined bool // what call shall do
	first  int  // header to send
	n      int  // headers to send; then: sent
	errno  syscall.Errno
}

func (r *Run) init() {
	r.sys.once = func(fd uintptr) { r.send(fd) }
	r.sys.until = r.send
}

// send sends the joined header, or n of the single ones. It reports whether it
// did, or failed.
func (r *Run) send(fd uintptr) bool {
	s := &r.sys
	for {
		var n uintptr
		if s.joined {
			_, _, s.errno = syscall.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.headers[0].Msghdr)), unix.MSG_DONTWAIT)
			n = 1
		} else {
			n, _, s.errno = syscall.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.headers[s.first])), uintptr(s.n), unix.MSG_DONTWAIT, 0, 0)
		}
		switch s.errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case 0:
			s.n = int(n)
		}
		return true
	}
}

// call has send done. Control takes no lock that other writers would wait for.
func (c *Conn) call(r *Run) error {
	err := c.raw.Control(r.sys.once)
	if err == nil && r.sys.errno == unix.EAGAIN && c.patient {
		err = c.raw.Write(r.sys.until)
	}
	return err
}

// WriteRun sends the run and returns how many of its datagrams the kernel took.
// Unless Patient it never waits: a socket whose buffer is full takes no more.
// Where a run cannot go in one piece, because the way out has no checksum
// offload (EIO: for good then) or an MTU below the datagrams' size (EINVAL,
// EMSGSIZE), they go one by one.
func (c *Conn) WriteRun(r *Run) (sent int, err error) {
	r.sys.namelen = toSockaddr(&r.sys.name, r.to)
	if r.count > 1 && c.gso.Load() {
		switch err := c.sendJoined(r); {
		case err == nil:
			return r.count, nil
		case errors.Is(err, unix.EIO):
			c.cuts.Store(false)
			c.gso.Store(false)
		case !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EMSGSIZE):
			return 0, err
		}
	}
	r.cut()
	for sent < r.count {
		r.sys.first, r.sys.n = sent, r.count-sent
		if err := c.call(r); err != nil {
			return sent, err
		}
		if r.sys.errno != 0 {
			return sent, os.NewSyscallError("sendmmsg", r.sys.errno)
		}
		sent += r.sys.n
	}
	return sent, nil
}

// WriteJoined sends the run in one piece, even where SetGSO said not to. It fails
// with errors.ErrUnsupported, or as the kernel does, where that cannot be.
func (c *Conn) WriteJoined(r *Run) error {
	if !c.cuts.Load() {
		return errors.ErrUnsupported
	}
	r.sys.namelen = toSockaddr(&r.sys.name, r.to)
	return c.sendJoined(r)
}

// sendJoined sends the run, whose namelen is set, in one piece.
func (c *Conn) sendJoined(r *Run) error {
	r.join()
	if err := c.call(r); err != nil || r.sys.errno == 0 {
		return err
	}
	return os.NewSyscallError("sendmsg", r.sys.errno)
}

// join makes the first header that of the whole run.
func (r *Run) join() {
	s := &r.sys
	for i, p := range r.parts {
		s.iovecs[i] = iovec(p)
	}
	h := r.header(0)
	h.Iov = &s.iovecs[0]
	h.SetIovlen(len(r.parts))
	at := len(r.from)
	c := (*unix.Cmsghdr)(unsafe.Pointer(&s.controlBytes()[at]))
	c.Level, c.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	c.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(s.controlBytes()[at+unix.CmsgLen(0):], uint16(r.size))
	h.Control = &s.controlBytes()[0]
	h.SetControllen(at + unix.CmsgSpace(2))
	s.joined = true
}

func (s *runSys) controlBytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&s.control)), unsafe.Sizeof(s.control))
}

// header returns the i-th header, with the addresses in it.
func (r *Run) header(i int) *unix.Msghdr {
	s := &r.sys
	h := &s.headers[i].Msghdr
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&s.name)), s.namelen
	h.Control = nil
	if len(r.from) > 0 {
		copy(s.controlBytes(), r.from)
		h.Control = &s.controlBytes()[0]
	}
	h.SetControllen(len(r.from))
	return h
}

// cut gives each datagram its header and iovecs, two at most.
func (r *Run) cut() {
	s := &r.sys
	s.joined = false
	used, part := 0, 0
	var rest []byte
	for i := range r.count {
		h := r.header(i)
		h.Iov = &s.iovecs[min(used, len(s.iovecs)-1)]
		first := used
		for need := min(r.size, r.bytes-i*r.size); need > 0; used++ {
			if len(rest) == 0 {
				rest = r.parts[part]
				part++
			}
			n := min(need, len(rest))
			s.iovecs[used] = iovec(rest[:n])
			rest, need = rest[n:], need-n
		}
		h.SetIovlen(used - first)
	}
}

// SetMark sets the firewall mark (SO_MARK) of what is sent.
func (c *Conn) SetMark(mark uint32) (err error) {
	failed := c.raw.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
	})
	return errors.Join(failed, err)
}
