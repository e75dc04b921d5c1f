package udpbatch

import (
	"net"
	"sync/atomic"
	"syscall"
)

// Conn is a UDP socket of one family ("udp4" or "udp6"). ReadBatch is for one
// goroutine, as long as it reads; everything else is safe for concurrent use.
type Conn struct {
	*net.UDPConn
	raw   syscall.RawConn
	gso   atomic.Bool // the kernel cuts one large send into equal datagrams
	batch *Batch      // the reader's: between its callback and ReadBatch
	err   error       // likewise
	ready func(fd uintptr) bool
}

// New takes the socket over. The kernel joins what comes in from now on, so
// that only ReadBatch may read.
func New(udp *net.UDPConn) (*Conn, error) {
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{UDPConn: udp, raw: raw}
	c.ready = c.tryRead
	c.gso.Store(c.join())
	return c, nil
}

// NoGSO has each datagram sent by itself, for kernels and drivers that get the
// cutting wrong.
func (c *Conn) NoGSO() { c.gso.Store(false) }

// GSO says whether runs of datagrams are sent in one piece.
func (c *Conn) GSO() bool { return c.gso.Load() }
