package peer

import "time"

// Waits between attempts at a session that failed.
const (
	urgentWait    = time.Second // doubling, while packets wait
	urgentMaxWait = 10 * time.Second
	calmWait      = 5 * time.Second // doubling, while none do
	calmMaxWait   = 5 * time.Minute
)

// Waits between attempts at a direct path while there is a relayed one.
const (
	upgradeWait    = 30 * time.Second // doubling
	upgradeMaxWait = 10 * time.Minute
)

// retry counts the attempts that failed since the last success. It is pure.
type retry struct {
	fails int
	last  time.Time
}

func (r *retry) failed(now time.Time) { r.fails, r.last = min(r.fails+1, 16), now }

func (r *retry) succeeded() { *r = retry{} }

// at is when the next attempt may begin; zero: at any time.
func (r *retry) at(urgent bool) time.Time {
	switch {
	case r.fails == 0:
		return time.Time{}
	case urgent:
		return r.last.Add(min(urgentWait<<(r.fails-1), urgentMaxWait))
	}
	return r.last.Add(min(calmWait<<(r.fails-1), calmMaxWait))
}

// upgrade counts the attempts at something better than a relayed path. It is
// pure.
type upgrade struct {
	since time.Time // relayed since, or the last attempt; zero: not relayed
	wait  time.Duration
}

// relayed notes what the path is now.
func (u *upgrade) relayed(is bool, now time.Time) {
	switch {
	case !is:
		*u = upgrade{}
	case u.since.IsZero():
		*u = upgrade{since: now, wait: upgradeWait}
	}
}

// tried notes that an attempt begins.
func (u *upgrade) tried(now time.Time) {
	if !u.since.IsZero() {
		u.since, u.wait = now, min(2*u.wait, upgradeMaxWait)
	}
}

// at is when to try; zero: never, as things stand.
func (u *upgrade) at() time.Time {
	if u.since.IsZero() {
		return time.Time{}
	}
	return u.since.Add(u.wait)
}
