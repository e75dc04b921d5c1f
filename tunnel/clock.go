package tunnel

import (
	"runtime/debug"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// now is the time by which memberships end. It is never before this program was
// built, nor before a time that another member has confirmed: a clock that
// stands still or goes back revives nobody.
func (n *Node) now() time.Time {
	now := time.Now()
	for _, floor := range []time.Time{buildTime(), n.node.Confirmed} {
		if now.Before(floor) {
			now = floor
		}
	}
	return now
}

const (
	// confirmWithin is how far the clock of another member may be off for it
	// to confirm ours.
	confirmWithin = time.Hour
	// confirmEvery is how seldom a confirmed time is written.
	confirmEvery = time.Hour
	// bigStep is a step of the time that one member's word is not enough for:
	// a wrong time once confirmed ends memberships for good.
	bigStep = 30 * 24 * time.Hour
)

// confirm takes the time that another member has signed. Where it agrees with
// our clock, no earlier time is believed any more; a big step takes two members.
func (n *Node) confirm(by config.NodeKey, theirs time.Time) {
	now := time.Now()
	if off := now.Sub(theirs).Abs(); off > confirmWithin || now.Sub(n.node.Confirmed) < confirmEvery {
		return
	}
	if now.Sub(later(n.node.Confirmed, buildTime())) > bigStep {
		if n.stepBy.IsZero() || n.stepBy == by || now.Sub(n.stepAt).Abs() > confirmWithin {
			n.stepBy, n.stepAt = by, now
			return
		}
	}
	updated := *n.node
	updated.Confirmed = now
	if err := n.cfg.Dir.SaveNode(&updated); err != nil {
		n.log.Error("node not saved", "err", err)
		return
	}
	*n.node = updated
}

// buildTime is when the program's source was committed; zero where it does not
// say.
var buildTime = sync.OnceValue(func() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, _ := time.Parse(time.RFC3339, s.Value)
			return t
		}
	}
	return time.Time{}
})
