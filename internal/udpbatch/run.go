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
	last  bool   // the last is shorter: nothing may follow
	from  []byte // control message; empty: the kernel chooses
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
	r.from = nil
}

// From has the run sent from a source: what the function of that name returned.
// Nil: the kernel chooses.
func (r *Run) From(source []byte) { r.from = source }

// To is where the run goes.
func (r *Run) To() netip.AddrPort { return r.to }

// Source is what From was given.
func (r *Run) Source() []byte { return r.from }

// All calls yield with a copy of each datagram, which is good until it returns, until
// it returns false.
func (r *Run) All(yield func(datagram []byte) bool) {
	var rest []byte
	part, d := 0, make([]byte, 0, r.size)
	for i := range r.count {
		d = d[:0]
		for need := min(r.size, r.bytes-i*r.size); need > 0; {
			if len(rest) == 0 {
				rest = r.parts[part]
				part++
			}
			n := min(need, len(rest))
			d = append(d, rest[:n]...)
			rest, need = rest[n:], need-n
		}
		if !yield(d) {
			return
		}
	}
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
