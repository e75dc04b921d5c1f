package peer

import (
	"sync/atomic"
	"time"
)

// How long nothing may come out of a relay into which something was sent, before
// its server is asked; then doubling, as the peer may simply be gone.
const (
	unansweredFor     = 500 * time.Millisecond
	unansweredMaxWait = 16 * time.Second
)

// vigil watches for the loss of a relay that is in use: checks and data leave, and
// nothing comes. It costs nothing while nothing leaves.
type vigil struct {
	due  time.Time     // of the next look; zero: nothing has left
	wait time.Duration // from one look to the next
}

// look says when to look again, 0 for at the next asked, and whether the relay is
// suspect now. asked and heard are what happened since.
func (v *vigil) look(now time.Time, asked, heard *atomic.Bool) (again time.Duration, suspect bool) {
	switch {
	case v.due.IsZero() && !asked.Load():
		return 0, false
	case v.due.IsZero():
		heard.Store(false)
		v.wait = unansweredFor
	case now.Before(v.due):
		return v.due.Sub(now), false
	case heard.Load():
		asked.Store(false)
		v.due = time.Time{}
		return 0, false
	default:
		suspect = true
		v.wait = min(2*v.wait, unansweredMaxWait)
	}
	v.due = now.Add(v.wait)
	return v.wait, suspect
}
