package signaling

import (
	"errors"
	"math"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

var (
	errVersion = errors.New("made by a newer p2ptun: its version is not known")
	errFormat  = errors.New("not well formed")
)

func addString(b *cryptobyte.Builder, s string) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

func readString(s *cryptobyte.String, out *string) bool {
	var v cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&v) {
		return false
	}
	*out = string(v)
	return true
}

// addTime writes whole seconds since 1970, 0 for the zero time.
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t.IsZero() {
		b.AddUint64(0)
		return
	}
	b.AddUint64(uint64(t.Unix()))
}

func readTime(s *cryptobyte.String, t *time.Time) bool {
	var v uint64
	if !s.ReadUint64(&v) || v > math.MaxInt32*1000 { // some 68,000 years: no overflow in arithmetic
		return false
	}
	*t = time.Time{}
	if v != 0 {
		*t = time.Unix(int64(v), 0)
	}
	return true
}

func addBytes16(b *cryptobyte.Builder, p []byte) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p) })
}

func readBytes16(s *cryptobyte.String, out *[]byte) bool {
	var v cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&v) {
		return false
	}
	*out = append([]byte(nil), v...)
	return true
}
