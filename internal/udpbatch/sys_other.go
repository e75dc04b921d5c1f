//go:build !linux

package udpbatch

import (
	"errors"
	"net/netip"
	"sync"
)

func (c *Conn) join() bool { return false }

// SetBuffers asks for socket buffers of so many bytes.
func (c *Conn) SetBuffers(bytes int) {
	_ = c.SetReadBuffer(bytes)
	_ = c.SetWriteBuffer(bytes)
}

// Missed tells nothing here.
func (c *Conn) Missed() (n uint32, ok bool) { return 0, false }

type batchSys struct{ buffer [slotSize]byte }

var batches = sync.Pool{New: func() any { return new(Batch) }}

// ReadBatch waits for a datagram.
func (c *Conn) ReadBatch() (*Batch, error) {
	b := batches.Get().(*Batch)
	n, from, err := c.ReadFromUDPAddrPort(b.sys.buffer[:])
	if err != nil {
		batches.Put(b)
		return nil, err
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	b.all[0] = message{data: b.sys.buffer[:n], from: from}
	b.messages = b.all[:1]
	return b, nil
}

func (c *Conn) tryRead(uintptr) bool { return true }

// Release gives the batch back. What Next returned is not to be used any more.
func (b *Batch) Release() {
	b.messages = nil
	batches.Put(b)
}

type runSys struct{}

func (r *Run) init() {}

// WriteRun sends the run and returns how many of its datagrams went out.
func (c *Conn) WriteRun(r *Run) (sent int, err error) {
	for d := range r.All {
		if _, err := c.WriteToUDPAddrPort(d, r.to); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

func (c *Conn) part() {}

// Fragment leaves it to the system.
func (c *Conn) Fragment() error { return nil }

// WriteWhole is not supported here.
func (c *Conn) WriteWhole(*Run) error { return errors.ErrUnsupported }

// WriteJoined is not supported here.
func (c *Conn) WriteJoined(*Run) error { return errors.ErrUnsupported }

type scatter struct{}

// Tell does nothing: local addresses are not asked for here.
func (c *Conn) Tell() error { return nil }

// Stable does nothing: the system chooses.
func (c *Conn) Stable() error { return nil }

// ReadInto waits for a datagram and puts it into bufs[0].
func (c *Conn) ReadInto(bufs [][]byte, sizes []int) (int, Arrival, error) {
	n, from, err := c.ReadFromUDPAddrPort(bufs[0])
	sizes[0] = n
	return 1, Arrival{From: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}, err
}

// Source pins nothing: the kernel chooses.
func Source(netip.Addr, int) []byte { return nil }

// SetMark is not supported here.
func (c *Conn) SetMark(uint32) error { return errors.ErrUnsupported }
