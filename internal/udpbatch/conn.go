package udpbatch

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// Conn is a UDP socket of one family ("udp4" or "udp6"). Reading, by ReadBatch
// or by ReadInto, is for one goroutine, as long as it reads; everything else is safe for concurrent use.
type Conn struct {
	*net.UDPConn
	raw   syscall.RawConn
	cuts  atomic.Bool // the kernel cuts one large send into equal datagrams
	gso   atomic.Bool // and is asked to
	batch *Batch      // the reader's: between its callback and ReadBatch
	err   error       // likewise
	ready func(fd uintptr) bool

	scatter *scatter // ReadInto's
	patient bool

	whole sync.Mutex // held while a datagram is sent that may not be fragmented
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
	c.cuts.Store(c.join())
	c.SetGSO(true)
	return c, nil
}

func (c *Conn) isIPv6() bool {
	a, ok := c.LocalAddr().(*net.UDPAddr)
	return ok && a.AddrPort().Addr().Unmap().Is6()
}

// SetGSO says whether runs are sent in one piece, where the kernel can cut them:
// there are kernels and drivers that get it wrong.
func (c *Conn) SetGSO(on bool) { c.gso.Store(on && c.cuts.Load()) }

// Plain turns joining off in both directions.
func (c *Conn) Plain() {
	c.SetGSO(false)
	c.cuts.Store(false)
	c.part()
}

// Patient has WriteRun wait while the socket's buffer is full, so that whoever
// sends faster than the network is held back. To be called before use.
func (c *Conn) Patient() { c.patient = true }

// GSO says whether runs of datagrams are sent in one piece.
func (c *Conn) GSO() bool { return c.gso.Load() }
