package main

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many datagrams a load hands to the kernel at once.
const batchSize = 64

// batch is datagrams for sendmmsg on a connected socket, or from recvmmsg. It
// is not udpbatch's, so that the load stays the same whatever becomes of what is
// measured. Not safe for concurrent use.
type batch struct {
	bufs [][]byte // all of one size
	hdrs []unix.Mmsghdr
	iovs []unix.Iovec
	oob  [][]byte // room for one control message each
}

func newBatch(count, size int) *batch {
	b := &batch{hdrs: make([]unix.Mmsghdr, count), iovs: make([]unix.Iovec, count)}
	for i := range count {
		b.bufs = append(b.bufs, make([]byte, size))
		b.oob = append(b.oob, make([]byte, unix.CmsgSpace(4)))
		b.iovs[i].Base = &b.bufs[i][0]
		b.iovs[i].SetLen(size)
		b.hdrs[i].Hdr.Iov = &b.iovs[i]
		b.hdrs[i].Hdr.SetIovlen(1)
	}
	return b
}

// segment makes each buffer a run of datagrams of that size (UDP_SEGMENT).
func (b *batch) segment(size int) {
	for i := range b.hdrs {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b.oob[i][0]))
		h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
		binary.NativeEndian.PutUint16(b.oob[i][unix.CmsgLen(0):], uint16(size))
		b.hdrs[i].Hdr.Control = &b.oob[i][0]
		b.hdrs[i].Hdr.SetControllen(unix.CmsgSpace(2))
	}
}

// send sends the first n buffers, and waits while the socket is full. It
// returns how many have left.
func (b *batch) send(c syscall.RawConn, n int) (sent int, err error) {
	return b.transfer(c.Write, unix.SYS_SENDMMSG, n)
}

// transfer makes the system call as soon as the socket is ready for it, with
// the first n headers, and returns how many the kernel has done.
func (b *batch) transfer(ready func(func(fd uintptr) bool) error, trap uintptr, n int) (done int, err error) {
	var errno syscall.Errno
	waitErr := ready(func(fd uintptr) bool {
		for {
			r, _, e := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&b.hdrs[0])), uintptr(n), 0, 0, 0)
			switch e {
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				return false
			}
			done, errno = int(r), e
			return true
		}
	})
	if waitErr != nil {
		return 0, waitErr
	}
	if errno != 0 {
		return 0, errno
	}
	return done, nil
}

// receive waits for datagrams and returns how many came; size and segmentSize
// tell of each.
func (b *batch) receive(c syscall.RawConn) (n int, err error) {
	for i := range b.hdrs {
		b.hdrs[i].Hdr.Control = &b.oob[i][0]
		b.hdrs[i].Hdr.SetControllen(len(b.oob[i]))
	}
	return b.transfer(c.Read, unix.SYS_RECVMMSG, len(b.hdrs))
}

// size is the length of the i-th buffer's content.
func (b *batch) size(i int) int { return int(b.hdrs[i].Len) }

// segmentSize is the size of the datagrams that the kernel has joined in the
// i-th buffer (UDP_GRO); the last may be shorter.
func (b *batch) segmentSize(i int) int {
	if b.hdrs[i].Hdr.Controllen > 0 {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b.oob[i][0]))
		if h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO {
			return int(binary.NativeEndian.Uint32(b.oob[i][unix.CmsgLen(0):]))
		}
	}
	return b.size(i)
}
