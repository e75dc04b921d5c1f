package peer

import (
	"slices"
	"time"
)

// maxUnheard bounds what is noted of data that left.
const maxUnheard = 16

// unheard is when data left on the path, now and then, that the peer has not heard as
// far as its receipts show; the first is first. It is pure.
type unheard []time.Time

// left takes that data left.
func (u *unheard) left(at time.Time) {
	if n := len(*u); n < maxUnheard && (n == 0 || at.After((*u)[n-1])) {
		*u = append(*u, at)
	}
}

// heard takes that the peer heard data at a time.
func (u *unheard) heard(at time.Time) {
	*u = slices.DeleteFunc(*u, func(left time.Time) bool { return !left.After(at) })
}

// since is when the first left; zero: all is heard.
func (u unheard) since() time.Time {
	if len(u) == 0 {
		return time.Time{}
	}
	return u[0]
}
