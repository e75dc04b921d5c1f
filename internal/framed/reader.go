package framed

import (
	"encoding/binary"
	"errors"
	"io"
)

const (
	headerSTUN    = 20
	headerChannel = 4

	// MaxMessage is the longest message that a Reader takes, and a Writer too, in
	// bytes with header and padding: the longest packet of a tunnel fits.
	MaxMessage = 16 << 10

	// maxRead is how much a Reader reads at once where that much comes, in bytes.
	// It begins with little: what a stranger says is short.
	minRead, maxRead = 4 << 10, 64 << 10

	// maxSTUN is the longest STUN message: what fits a datagram.
	maxSTUN = 1500
)

// ErrMalformed is a stream that is none of STUN messages and ChannelData. Where
// the next message would begin is not known, so there is no way on.
var ErrMalformed = errors.New("stream is not of STUN messages and ChannelData")

// Reader takes messages off a stream. It is not safe for concurrent use.
type Reader struct {
	from       io.Reader
	buf        []byte
	start, end int // of what was read and not returned
}

// NewReader returns a Reader. It reads ahead, up to 64 KiB of what comes fast.
func NewReader(from io.Reader) *Reader { return &Reader{from: from, buf: make([]byte, minRead)} }

// Next returns the next message, without the padding of ChannelData. Its bytes are
// the caller's to change until the next call of Next. The error is that of the
// stream, io.ErrUnexpectedEOF for an end within a message, or ErrMalformed.
func (r *Reader) Next() ([]byte, error) {
	for {
		n, padded, err := length(r.buf[r.start:r.end])
		if err != nil {
			return nil, err
		}
		if n > 0 && r.end-r.start >= padded {
			m := r.buf[r.start : r.start+n : r.start+n]
			r.start += padded
			return m, nil
		}
		if err := r.fill(max(padded, headerChannel)); err != nil {
			return nil, err
		}
	}
}

// More says whether Next would return at once.
func (r *Reader) More() bool {
	n, padded, err := length(r.buf[r.start:r.end])
	return err != nil || n > 0 && r.end-r.start >= padded
}

// fill reads more of a message that is of need bytes or more.
func (r *Reader) fill(need int) error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if r.start+need > len(r.buf) {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	if need > len(r.buf) {
		r.grow(MaxMessage)
	}
	n, err := r.from.Read(r.buf[r.end:])
	r.end += n
	if r.end == len(r.buf) && r.start == 0 && len(r.buf) < maxRead {
		r.grow(maxRead)
	}
	switch {
	case n > 0:
		return nil // an error comes again
	case err == io.EOF && r.end > r.start:
		return io.ErrUnexpectedEOF
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

// grow gives the buffer another size.
func (r *Reader) grow(n int) { r.buf = append(make([]byte, 0, n), r.buf[:r.end]...)[:n] }

// length is how long the message at the beginning of b is, without and with its
// padding; 0 while b is too short to tell.
func length(b []byte) (n, padded int, err error) {
	if len(b) < headerChannel {
		return 0, 0, nil
	}
	n = int(binary.BigEndian.Uint16(b[2:]))
	switch b[0] >> 6 {
	case 0: // STUN: two zero bits
		if n%4 != 0 || n+headerSTUN > maxSTUN {
			return 0, 0, ErrMalformed
		}
		return n + headerSTUN, n + headerSTUN, nil
	case 1: // ChannelData: 0x4000 to 0x7FFF
		n += headerChannel
		if padded = (n + 3) &^ 3; padded > MaxMessage {
			return 0, 0, ErrMalformed
		}
		return n, padded, nil
	}
	return 0, 0, ErrMalformed
}
