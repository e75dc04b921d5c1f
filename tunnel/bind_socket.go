package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

const (
	// socketBuffer is asked for in bytes, each way: 25 ms at 2 Gbit/s.
	socketBuffer = 7 << 20

	// maxSegments is what every kernel takes in one UDP_SEGMENT send.
	maxSegments = 64

	// maxPayload is the most that one IPv4 datagram carries, in bytes.
	maxPayload = 65535 - 20 - 8
)

// packetConn is what a socket needs of *net.UDPConn; tests put others there.
type packetConn interface {
	ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error)
	WriteMsgUDPAddrPort(b, oob []byte, addr netip.AddrPort) (n, oobn int, err error)
	Close() error
}

// socket is one UDP socket of one address family. Reads are for one goroutine;
// writes are safe for concurrent use.
type socket struct {
	conn packetConn
	gso  atomic.Bool // the kernel cuts one large send into equal datagrams
	oob  [128]byte   // the reader's control messages
}

// arrival is what the datagrams of one read have in common.
type arrival struct {
	from    netip.AddrPort
	local   netip.Addr // the address they came to, or zero when not told
	ifindex int        // the interface they came on, or 0
	segment int        // the size they were joined with, or 0: one datagram
}

// writeBuffer is the scratch space of one send.
type writeBuffer struct {
	data []byte
	oob  []byte
}

var writeBuffers = sync.Pool{New: func() any {
	return &writeBuffer{data: make([]byte, 0, maxPayload), oob: make([]byte, 0, 128)}
}}

// read fills bufs with the datagrams of one system call, all from one sender:
// more than one where the kernel joined a run of equal ones (UDP_GRO).
func (s *socket) read(bufs [][]byte, sizes []int) (int, arrival, error) {
	n, oobn, _, from, err := s.conn.ReadMsgUDPAddrPort(bufs[0], s.oob[:])
	if err != nil {
		return 0, arrival{}, err
	}
	a := readControl(s.oob[:oobn])
	a.from = canonical(from)
	return splitJoined(bufs, sizes, n, a.segment), a, nil
}

// splitJoined cuts the n bytes in bufs[0] into datagrams of the size they were
// joined with, the last of which may be shorter. The first stays where it is.
// The kernel joins at most 128, which is the batch; more would be cut off.
func splitJoined(bufs [][]byte, sizes []int, n, segment int) int {
	if segment <= 0 || segment >= n {
		sizes[0] = n
		return 1
	}
	sizes[0] = segment
	count := 1
	for rest := bufs[0][segment:n]; len(rest) > 0 && count < len(bufs); count++ {
		k := min(segment, len(rest))
		sizes[count] = copy(bufs[count], rest[:k])
		rest = rest[k:]
	}
	return count
}

// write sends bufs to one address, with a source's control message unless nil,
// in as few system calls as it can. It goes on after an error and returns the
// first.
func (s *socket) write(bufs [][]byte, to netip.AddrPort, control []byte) error {
	w := writeBuffers.Get().(*writeBuffer)
	defer writeBuffers.Put(w)
	var first error
	for len(bufs) > 0 {
		n := 1
		if s.gso.Load() {
			n = runLength(bufs)
		}
		if err := s.writeRun(w, bufs[:n], to, control); err != nil && first == nil {
			first = err
		}
		bufs = bufs[n:]
	}
	return first
}

// writeRun sends one run: joined if it can be, else one by one. A run that the
// kernel refuses to cut (no checksum offload: EIO; larger than the path's MTU,
// which a single datagram may be fragmented for: EINVAL or EMSGSIZE) goes out
// one by one as well.
func (s *socket) writeRun(w *writeBuffer, bufs [][]byte, to netip.AddrPort, control []byte) error {
	if len(bufs) > 1 {
		w.data = w.data[:0]
		for _, b := range bufs {
			w.data = append(w.data, b...)
		}
		w.oob = appendSegment(append(w.oob[:0], control...), len(bufs[0]))
		_, _, err := s.conn.WriteMsgUDPAddrPort(w.data, w.oob, to)
		switch {
		case errors.Is(err, syscall.EIO):
			s.gso.Store(false)
		case !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EMSGSIZE):
			return err
		}
	}
	for _, b := range bufs {
		if _, _, err := s.conn.WriteMsgUDPAddrPort(b, control, to); err != nil {
			return err
		}
	}
	return nil
}

// runLength returns how many of the first bufs may go in one joined send: all of one
// size, but the last may be shorter.
func runLength(bufs [][]byte) int {
	size := len(bufs[0])
	total := size
	for i := 1; i < len(bufs); i++ {
		n := len(bufs[i])
		total += n
		if i == maxSegments || n > size || n == 0 || total > maxPayload {
			return i
		}
		if n < size {
			return i + 1
		}
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
	config := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		return setOptions(network, c, gso)
	}}
	pc, err := config.ListenPacket(context.Background(), network, ":"+strconv.Itoa(int(*port)))
	if err != nil {
		return nil, fmt.Errorf("open the %s socket: %w", network, err)
	}
	udp := pc.(*net.UDPConn)
	*port = udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	s := &socket{conn: udp}
	s.gso.Store(gso && supportsGSO(udp))
	return s, nil
}

// isNoFamily reports whether err means that the machine lacks the family.
func isNoFamily(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

func closeSockets(list ...*socket) error {
	var errs []error
	for _, s := range list {
		if s != nil {
			errs = append(errs, s.conn.Close())
		}
	}
	return errors.Join(errs...)
}
