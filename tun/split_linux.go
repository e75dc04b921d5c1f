package tun

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// splitter takes what the kernel has for the tunnel and cuts it into packets.
//
// Of TCP and UDP the kernel hands over many packets as one, with one set of
// headers:
//
//	virtio header | headers | payload 1 | payload 2 | payload 3
//
// One readv puts each payload where its packet will be, if the headers are as
// long and the segments as large as the last time, which in a long transfer
// they are:
//
//	virtio | bufs[0]: headers, payload 1 | bufs[1]: (gap) payload 2 | bufs[2]: …
//
// The headers are copied into the gaps then. Where the guess was wrong, all is
// gathered and cut by copying, and the next guess is right.
//
// It is for one goroutine, and allocates nothing per packet.
type splitter struct {
	virtio virtio
	iovs   []unix.Iovec
	whole  []byte // a super-packet that could not be read in place

	head, segment int // the guess: length of the headers, and of a payload

	rest super // what did not fit into the batch; its packet is in whole
}

// super is a super-packet that is being cut.
type super struct {
	headers
	segment int    // length of each payload but the last
	packet  []byte // with its headers; empty: nothing is left
	next    int    // the first payload that is left
}

const (
	// maxPacket is the longest that the kernel hands over, with headers.
	maxPacket = 65535 + 128

	// The first guess, and how small a guess may be: it has to hold all
	// headers of any packet.
	guessHead    = ipv4Size + tcpSize + 12 // the timestamp option
	guessSegment = BaseMTU - guessHead
	minSegment   = 256
)

var errMalformed = errors.New("malformed packet from the kernel")

func newSplitter(batch int) *splitter {
	return &splitter{
		iovs: make([]unix.Iovec, 0, batch+2), whole: make([]byte, maxPacket),
		head: guessHead, segment: guessSegment,
	}
}

// layout returns where the next read is to go. bufs are of one length, with
// room for any packet after offset.
func (s *splitter) layout(bufs [][]byte, offset int) []unix.Iovec {
	s.iovs = append(s.iovs[:0], iovec(s.virtio[:]), iovec(bufs[0][offset:][:s.head+s.segment]))
	left := maxPacket - s.head - s.segment
	for i := 1; i < len(bufs) && left > 0; i++ {
		s.iovs = append(s.iovs, iovec(bufs[i][offset+s.head:][:s.segment]))
		left -= s.segment
	}
	if left > 0 {
		s.iovs = append(s.iovs, iovec(s.whole[:left]))
	}
	return s.iovs
}

func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}

// split makes packets of the n bytes that were read to layout, and says how
// many. What does not fit is for more.
func (s *splitter) split(bufs [][]byte, sizes []int, offset, n int) (int, error) {
	if n -= virtioSize; n < 1 {
		return 0, errMalformed
	}
	if s.virtio.kind() == gsoNone {
		first := bufs[0][offset:]
		if n > s.head+s.segment {
			s.gather(bufs, offset, n)
			if copy(first, s.whole[:n]) < n {
				return 0, errMalformed
			}
		}
		sizes[0] = n
		if s.virtio.needsChecksum() {
			return 1, finish(first[:n], s.virtio.start(), s.virtio.offset())
		}
		return 1, nil
	}
	h, err := s.superHeaders(bufs[0][offset:][:min(n, s.head+s.segment)])
	segment := s.virtio.segment()
	switch {
	case err != nil:
		return 0, err
	case segment == 0 || h.size >= n:
		return 0, errMalformed
	case h.size == s.head && segment == s.segment && n <= h.size+segment*len(bufs):
		return h.inPlace(bufs, sizes, offset, n, segment), nil
	}
	s.gather(bufs, offset, n)
	if segment >= minSegment && offset+h.size+segment <= len(bufs[0]) {
		s.head, s.segment = h.size, segment
	}
	s.rest = super{headers: h, segment: segment, packet: s.whole[:n]}
	return s.more(bufs, sizes, offset), nil
}

// superHeaders returns the headers of a super-packet, whose first bytes are p.
// Its virtio header says where they are, but for the end: that may be wrong in
// what the kernel forwards.
func (s *splitter) superHeaders(p []byte) (h headers, err error) {
	h.ip, h.v6, h.proto = s.virtio.start(), p[0]>>4 == 6, protoTCP
	if s.virtio.kind() == gsoUDP {
		h.proto = protoUDP
	}
	if h.ip < ipv4Size || h.v6 && h.ip < ipv6Size || !h.measure(p) {
		return h, fmt.Errorf("%w: type %d, headers of %d bytes", errMalformed, s.virtio.kind(), h.ip)
	}
	return h, nil
}

// gather puts the n bytes that were read to layout together, in whole.
func (s *splitter) gather(bufs [][]byte, offset, n int) {
	last := len(s.iovs) - 1
	read := s.head + s.segment + max(0, min(last, len(bufs))-1)*s.segment // before whole
	if n > read {
		copy(s.whole[read:n], s.whole[:n-read])
	}
	at := copy(s.whole[:n], bufs[0][offset:][:s.head+s.segment])
	for i := 1; i < len(bufs) && at < min(n, read); i++ {
		at += copy(s.whole[at:min(n, read)], bufs[i][offset+s.head:][:s.segment])
	}
}

// more hands out what is left of a super-packet, and says how many packets.
func (s *splitter) more(bufs [][]byte, sizes []int, offset int) int {
	r := &s.rest
	count := 0
	for ; count < len(bufs) && len(r.packet) > 0; count++ {
		p := bufs[count][offset:]
		from := r.size + r.next*r.segment
		to := min(from+r.segment, len(r.packet))
		copy(p, r.packet[:r.size])
		copy(p[r.size:], r.packet[from:to])
		sizes[count] = r.size + to - from
		r.finish(p[:sizes[count]], r.next, r.segment, to == len(r.packet))
		if r.next++; to == len(r.packet) {
			r.packet = nil
		}
	}
	return count
}

// inPlace makes packets of a super-packet of n bytes whose payloads are where
// they belong.
func (h headers) inPlace(bufs [][]byte, sizes []int, offset, n, segment int) int {
	count := (n - h.size + segment - 1) / segment
	first := bufs[0][offset:][:h.size]
	for i := count - 1; i >= 0; i-- { // the first is the others' model
		p := bufs[i][offset:]
		if i > 0 {
			copy(p, first)
		}
		sizes[i] = h.size + min(segment, n-h.size-i*segment)
		h.finish(p[:sizes[i]], i, segment, i == count-1)
	}
	return count
}

// finish gives the i-th packet of a super-packet, which has the headers of that,
// its own.
func (h headers) finish(p []byte, i, segment int, last bool) {
	if !h.v6 {
		id := p[4:6]
		binary.BigEndian.PutUint16(id, binary.BigEndian.Uint16(id)+uint16(i))
	}
	if h.proto == protoTCP {
		seq := p[h.ip+4:]
		binary.BigEndian.PutUint32(seq, binary.BigEndian.Uint32(seq)+uint32(i*segment))
		if !last {
			p[h.ip+tcpFlags] &^= tcpFIN | tcpPSH
		}
		if i > 0 {
			p[h.ip+tcpFlags] &^= tcpCWR // RFC 3168 section 6.1.2: once
		}
	}
	h.setLength(p, len(p))
	h.setChecksum(p)
}

// finish computes a checksum that the kernel left to us: over p from start on,
// where the pseudo header's sum stands at offset already.
func finish(p []byte, start, offset int) error {
	if start+offset+2 > len(p) {
		return errMalformed
	}
	c := ^fold(sum(p[start:], 0))
	if c == 0 {
		c = 0xffff // the same number, and never "none" of UDP
	}
	putSum(p[start+offset:], c)
	return nil
}
