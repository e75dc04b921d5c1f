package tunnel

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
)

// A socket's buffers in bytes, each way: 25 ms at 2 Gbit/s where there is memory
// for it. The kernel fills them with what is not read in time, so on a router of
// 128 MiB they are 2 MiB. It is all that grows with a machine's memory: a node
// under load takes some 20 MB itself, whatever there is.
const (
	mostBuffer  = 7 << 20
	leastBuffer = 1 << 20
	bufferShare = 64 // of the machine's memory
)

// bufferSize is what a socket asks for on a machine with so much memory; 0: not
// known.
func bufferSize(memory uint64) int {
	if memory == 0 {
		return mostBuffer
	}
	return int(min(max(memory/bufferShare, leastBuffer), mostBuffer))
}

// packetConn is what a socket needs of *udpbatch.Conn; tests put others there.
type packetConn interface {
	ReadInto(bufs [][]byte, sizes []int) (int, udpbatch.Arrival, error)
	WriteRun(r *udpbatch.Run) (sent int, err error)
	WriteJoined(r *udpbatch.Run) error
	WriteWhole(r *udpbatch.Run) error
	SetGSO(on bool)
	GSO() bool
	SetMark(mark uint32) error
	Close() error
}

// socket is one UDP socket of one address family. Reads are for one goroutine;
// writes are safe for concurrent use.
type socket struct{ packetConn }

// sending is the scratch space of one write.
type sending struct {
	run     *udpbatch.Run
	headers [udpbatch.MaxSegments][channelHeaderSize]byte
}

var sendings = sync.Pool{New: func() any { return &sending{run: udpbatch.NewRun()} }}

// write sends bufs to one address, from a source unless nil, in as few system
// calls as it can. On a channel, unless that is 0, each goes as ChannelData. It
// goes on after an error and returns the first.
func (s *socket) write(bufs [][]byte, to netip.AddrPort, channel uint16, source []byte) error {
	w := sendings.Get().(*sending)
	defer sendings.Put(w)
	var first error
	for len(bufs) > 0 {
		w.run.Reset(to)
		w.run.From(source)
		n := w.fill(bufs, channel)
		if _, err := s.WriteRun(w.run); err != nil && first == nil {
			first = err
		}
		bufs = bufs[n:]
	}
	return first
}

// fill puts as many of bufs into the run as it takes, and says how many.
func (w *sending) fill(bufs [][]byte, channel uint16) int {
	var header []byte
	for i, b := range bufs {
		if channel != 0 {
			header = w.headers[i%len(w.headers)][:]
		}
		if !w.run.Fits(len(header) + len(b)) {
			return i
		}
		if channel != 0 {
			binary.BigEndian.PutUint16(header, channel)
			binary.BigEndian.PutUint16(header[2:], uint16(len(b)))
		}
		w.run.Append(header, b)
	}
	return len(bufs)
}

// openSockets opens an IPv4 and an IPv6 socket on one port, on any when port
// is 0. A family that the machine lacks is left out (nil).
func openSockets(port uint16, gso bool) (v4, v6 *socket, got uint16, err error) {
	// The port free in IPv4 may be taken in IPv6: ask for another.
	for range 100 {
		v4, v6, got, err = openPair(port, gso)
		if port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return v4, v6, got, err
}

func openPair(port uint16, gso bool) (v4, v6 *socket, got uint16, err error) {
	got = port
	v4, err4 := openSocket("udp4", &got, gso)
	v6, err6 := openSocket("udp6", &got, gso)
	for _, err := range []error{err4, err6} {
		if err != nil && (!isNoFamily(err) || v4 == nil && v6 == nil) {
			closeSockets(v4, v6)
			return nil, nil, 0, err
		}
	}
	return v4, v6, got, nil
}

// openSocket opens one socket on *port, and writes there which port it got.
func openSocket(network string, port *uint16, gso bool) (*socket, error) {
	pc, err := new(net.ListenConfig).ListenPacket(context.Background(), network, ":"+strconv.Itoa(int(*port)))
	if err != nil {
		return nil, fmt.Errorf("open the %s socket: %w", network, err)
	}
	udp := pc.(*net.UDPConn)
	*port = udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	c, err := udpbatch.New(udp)
	if err == nil {
		err = cmp.Or(c.Tell(), c.Fragment())
		_ = c.Stable() // an improvement, no more
	}
	if err != nil {
		udp.Close()
		return nil, fmt.Errorf("open the %s socket: %w", network, err)
	}
	c.SetBuffers(bufferSize(machineMemory()))
	c.Patient() // WireGuard's own queues are the place to drop
	if !gso {
		c.Plain()
	}
	return &socket{c}, nil
}

// isNoFamily reports whether err means that the machine lacks the family.
func isNoFamily(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

func closeSockets(list ...*socket) error {
	var errs []error
	for _, s := range list {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}
