package udpbatch

import "net/netip"

const (
	// MaxSegments is what every kernel takes in one UDP_SEGMENT send.
	MaxSegments = 64

	// maxJoined is the most bytes of one such send, in either family.
	maxJoined = 65535 - 40 - 8
)

// Run is datagrams for one address: all of one size, but the last may be
// shorter. It refers to the caller's memory and copies nothing; what was
// appended must stay as it is until the run is written.
//
// It is not safe for concurrent use.
type Run struct {
	to    netip.AddrPort
	parts [][]byte // the datagrams' bytes, in order
	size  int      // of the first
	count int
	bytes int
	last  bool // the last is shorter: nothing may follow
	sys   runSys
}

// NewRun returns an empty run, to be Reset before use.
func NewRun() *Run {
	r := &Run{parts: make([][]byte, 0, 2*MaxSegments)}
	r.init()
	return r
}

// Reset empties the run, and says where the next goes.
func (r *Run) Reset(to netip.AddrPort) {
	clear(r.parts)
	r.to, r.parts, r.size, r.count, r.bytes, r.last = to, r.parts[:0], 0, 0, 0, false
}

// Len is the number of datagrams.
func (r *Run) Len() int { return r.count }

// Size is that of the first datagram, in bytes.
func (r *Run) Size() int { return r.size }

// Bytes is the sum of the first n datagrams' sizes.
func (r *Run) Bytes(n int) int { return min(n*r.size, r.bytes) }

// Fits says whether a datagram of n bytes may be appended. To an empty run any
// may, whether the kernel then takes it or not.
func (r *Run) Fits(n int) bool {
	return r.count == 0 ||
		!r.last && n > 0 && n <= r.size && r.count < MaxSegments && r.bytes+n <= maxJoined
}

// Append appends one datagram, in one piece or two, that Fits.
func (r *Run) Append(head, rest []byte) {
	n := len(head) + len(rest)
	if r.count == 0 {
		r.size = n
	}
	r.last = n < r.size || n == 0
	r.count++
	r.bytes += n
	r.add(head)
	r.add(rest)
}

// add joins a piece with the one before if it lies right behind it.
func (r *Run) add(b []byte) {
	if len(b) == 0 {
		return
	}
	if k := len(r.parts) - 1; k >= 0 {
		p := r.parts[k]
		if n := len(p); cap(p)-n >= len(b) && &p[:n+1][n] == &b[0] {
			r.parts[k] = p[:n+len(b)]
			return
		}
	}
	r.parts = append(r.parts, b)
}
