package tunnel

import "time"

// How long `up` waits, at most, before it says that it is up: for the hub to
// say who is online, and then for its neighbours to connect.
const (
	waitHub   = 3 * time.Second
	waitPeers = 3 * time.Second
)

// readiness decides when the node is up: the interface is, the hub was tried,
// and its neighbours had their chance.
type readiness struct {
	started time.Time // the interface is up
	tried   time.Time // the hub said who is online, or failed to
	told    bool
}

// start is called when the interface is up; what the hub said before, to a
// joiner, does not count.
func (r *readiness) start(now time.Time) { r.started, r.tried = now, time.Time{} }

func (r *readiness) hub(now time.Time) {
	if r.tried.IsZero() {
		r.tried = now
	}
}

// check says true once, when the node has become ready.
func (r *readiness) check(now time.Time, pending int) bool {
	if r.told {
		return false
	}
	if r.tried.IsZero() {
		if now.Sub(r.started) < waitHub {
			return false
		}
	} else if since := now.Sub(later(r.tried, r.started)); pending > 0 && since < waitPeers {
		return false
	}
	r.told = true
	return true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
