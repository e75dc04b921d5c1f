package tun

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// merger gives packets of the tunnel to the kernel, those of one flow that
// follow each other as one: the network stack is gone through once for all of
// them. No payload is copied for that.
//
// The order within a flow stays. Only what the kernel could cut into just these
// packets again is joined: the same addresses, ports and options, TCP segments
// that carry data and follow each other, UDP datagrams of one size; the last may
// be shorter. Checksums are verified first, since the kernel takes what is
// joined for correct.
//
// It is for one goroutine at a time, and allocates nothing per packet.
type merger struct {
	runs   []run
	next   []int16 // for each packet the one after it in its run
	iovs   []unix.Iovec
	plain  bool      // nothing is joined
	udp    bool      // the kernel takes joined UDP
	offset int       // where packets begin in their buffers
	head   [128]byte // headers of a run's first packet, before they were made those of all
}

// run is packets that go to the kernel as one.
type run struct {
	headers
	first, last int
	count       int
	total       int    // bytes, with the headers of one
	segment     int    // payload of each but the last
	seq         uint32 // of the first
	open        bool   // takes more
	checked     bool   // the first's checksum was right
}

const (
	// maxMerged is what an IPv4 packet can say of its length.
	maxMerged = 65535

	// lookBack bounds the runs among which a packet's flow is looked for.
	lookBack = 16
)

// merge finds the runs among packets.
func (m *merger) merge(bufs [][]byte) {
	m.runs, m.next = m.runs[:0], m.next[:0]
	for i, b := range bufs {
		m.next = append(m.next, 0)
		p := b[m.offset:]
		r := run{first: i, last: i, count: 1, total: len(p)}
		if !m.plain && r.begin(p, m.udp) {
			if old := m.find(bufs, r.headers, p); old != nil {
				if old.open = old.open && old.takes(bufs[old.first][m.offset:], p, &r); old.open {
					m.next[old.last] = int16(i)
					old.append(p, &r)
					continue
				}
			}
		}
		m.runs = append(m.runs, r)
	}
}

// begin makes r the run of p alone, and says whether p has a flow.
func (r *run) begin(p []byte, udp bool) bool {
	h, ok := parse(p)
	if !ok || h.proto == protoUDP && !udp {
		return false
	}
	r.headers, r.segment = h, len(p)-h.size
	r.open = r.segment > 0
	if h.proto == protoTCP {
		r.seq = binary.BigEndian.Uint32(p[h.ip+4:])
		r.open = r.open && p[h.ip+tcpFlags] == tcpACK
	}
	return true
}

// find returns the newest run of p's flow, or nil.
func (m *merger) find(bufs [][]byte, h headers, p []byte) *run {
	ports := p[h.ip : h.ip+4]
	for i := len(m.runs) - 1; i >= max(0, len(m.runs)-lookBack); i-- {
		r := &m.runs[i]
		head := bufs[r.first][m.offset:]
		if r.ip == h.ip && r.proto == h.proto && r.v6 == h.v6 &&
			bytes.Equal(head[r.ip:r.ip+4], ports) && bytes.Equal(r.addrs(head), h.addrs(p)) {
			return r
		}
	}
	return nil
}

// takes says whether p, which would be the run q, may follow in r, whose first
// packet is head.
func (r *run) takes(head, p []byte, q *run) bool {
	if r.size != q.size || q.segment == 0 || q.segment > r.segment || r.total+q.segment > maxMerged || !r.alike(head, p) {
		return false
	}
	if r.proto == protoTCP && (q.seq != r.seq+uint32(r.total-r.size) || p[r.ip+tcpFlags]&^tcpPSH != tcpACK) {
		return false
	}
	if !r.checked && !r.valid(head) {
		return false
	}
	r.checked = true
	if !q.valid(p) {
		q.open = false
		return false
	}
	return true
}

// alike says whether what the two packets' headers hold besides is the same:
// what the kernel copies from the first into all.
func (h headers) alike(a, b []byte) bool {
	if h.v6 {
		if !bytes.Equal(a[:4], b[:4]) || a[7] != b[7] { // class and flow label, hop limit
			return false
		}
	} else if a[1] != b[1] || a[6] != b[6] || a[8] != b[8] { // TOS, DF, TTL
		return false
	}
	return h.proto == protoUDP || bytes.Equal(a[h.ip+8:h.ip+12], b[h.ip+8:h.ip+12]) && // acknowledged
		bytes.Equal(a[h.ip+tcpSize:h.size], b[h.ip+tcpSize:h.size]) // options
}

// append adds the run q, of p alone, to r.
func (r *run) append(p []byte, q *run) {
	r.last = q.first
	r.count++
	r.total += q.segment
	r.open = q.segment == r.segment && (r.proto == protoUDP || p[r.ip+tcpFlags]&tcpPSH == 0)
}

// message returns what is to be written for the i-th run. It changes the first
// packet's headers to those of all.
func (m *merger) message(bufs [][]byte, i int) []unix.Iovec {
	r := &m.runs[i]
	b := bufs[r.first]
	m.iovs = m.single(b)
	if r.count == 1 {
		return m.iovs
	}
	head, p := (*virtio)(b[m.offset-virtioSize:]), b[m.offset:]
	copy(m.head[:r.size], p)
	head.describe(r.headers, r.segment)
	if r.proto == protoTCP {
		p[r.ip+tcpFlags] |= bufs[r.last][m.offset+r.ip+tcpFlags] & tcpPSH
	}
	r.setLength(p, r.total)
	putSum(p[r.checksum():], fold(r.pseudo(p, r.total)))
	for j, more := m.after(r.first); more; j, more = m.after(j) {
		m.iovs = append(m.iovs, iovec(bufs[j][m.offset+r.size:]))
	}
	return m.iovs
}

// single returns what is to be written for one packet by itself.
func (m *merger) single(b []byte) []unix.Iovec {
	b = b[m.offset-virtioSize:]
	*(*virtio)(b) = virtio{}
	return append(m.iovs[:0], iovec(b))
}

// restore undoes what message has changed.
func (m *merger) restore(bufs [][]byte, i int) {
	r := &m.runs[i]
	copy(bufs[r.first][m.offset:], m.head[:r.size])
}

// after returns the packet after the j-th in its run, and false where there is
// none.
func (m *merger) after(j int) (next int, ok bool) {
	next = int(m.next[j])
	return next, next != 0
}
