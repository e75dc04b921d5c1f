package tunnel

import "time"

const (
	// sleepMin is how long the machine has to have been suspended for its network
	// to be taken for another: NATs and hubs forget within half a minute, at worst.
	sleepMin = 2 * time.Second

	// frozenMin is how late the node's loop has to be for the process, or the
	// machine under it, to have stood still: stopped by a signal, paused with its
	// container or its virtual machine. A busy machine is late, too, but less.
	frozenMin = 5 * time.Second
)

// awake notices when the machine, or this process, has not run for a while. It is
// pure; the node's loop owns it. The wall clock means nothing to it.
type awake struct {
	seen   time.Time // when it was last asked, by the monotonic clock
	asleep time.Duration
}

// missed returns how long nothing has run since it was last asked, or 0. asleep is
// how long the machine has been suspended since it was started, which the
// monotonic clock does not count. It is asked once in a tick at least.
func (a *awake) missed(now time.Time, asleep time.Duration) time.Duration {
	before := *a
	*a = awake{now, asleep}
	if before.seen.IsZero() {
		return 0
	}
	slept, late := asleep-before.asleep, now.Sub(before.seen)-tick
	if slept < sleepMin && late < frozenMin {
		return 0
	}
	return max(slept, 0) + max(late, 0)
}

// pollAwake acts on a sleep: what the network was before says nothing.
func (n *Node) pollAwake(now time.Time) {
	missed := n.awake.missed(now, suspended())
	if missed == 0 {
		return
	}
	n.log.Info("the machine has slept", "for", missed.Round(time.Second))
	n.networkMoves(n.tunnel)
	n.tunnel.underlay.Changed("the machine has slept")
	n.networkMoved(n.tunnel, hasAddress)
}
