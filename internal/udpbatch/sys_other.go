//go:build !linux

package udpbatch

import (
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

type runSys struct{ datagram []byte }

func (r *Run) init() {}

// WriteRun sends the run and returns how many of its datagrams went out.
func (c *Conn) WriteRun(r *Run) (sent int, err error) {
	var rest []byte
	part := 0
	for sent < r.count {
		d := r.sys.datagram[:0]
		for need := min(r.size, r.bytes-sent*r.size); need > 0; {
			if len(rest) == 0 {
				rest = r.parts[part]
				part++
			}
			n := min(need, len(rest))
			d = append(d, rest[:n]...)
			rest, need = rest[n:], need-n
		}
		r.sys.datagram = d
		if _, err := c.WriteToUDPAddrPort(d, r.to); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}
