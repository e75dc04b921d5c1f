package peer

import (
	"slices"
	"testing"
	"time"
)

func TestPairState(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		p    pair
		want PairState
	}{
		{pair{}, PairWaiting},
		{pair{priority: 7}, PairWaiting}, // checked by the peer alone
		{pair{tries: 1}, PairInProgress},
		{pair{tries: failedAfter - 1}, PairInProgress},
		{pair{tries: failedAfter}, PairFailed},
		{pair{tries: 100, valid: now}, PairSucceeded},
		{pair{tries: 3, valid: now.Add(-validFor)}, PairFailed},
	} {
		if got := tt.p.state(now); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.p, got, tt.want)
		}
	}
}

// TestPairs: all that there is to try is told, the path first.
func TestPairs(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		if n := len(k.a.Pairs()); n != 0 {
			t.Errorf("%d pairs without a session", n)
		}
		time.Sleep(time.Second) // all is gathered
		k.online()
		k.connected(l, PathDirect, time.Second)
		l.until(5*time.Second, "nominated", func() bool { return k.a.Snapshot().ICE == "completed" })
		pairs := k.a.Pairs()
		first, s := pairs[0], k.a.Snapshot()
		if !first.Chosen || !first.Nominated || first.Suspect || first.State != PairSucceeded || first.RTT <= 0 || first.Answered.IsZero() {
			t.Errorf("first %+v, want the nominated path", first)
		}
		if first.Local != s.Local || first.Remote != s.Remote || first.Relay != "" {
			t.Errorf("first %+v, want the path of %+v", first, s)
		}
		if slices.ContainsFunc(pairs[1:], func(p Pair) bool { return p.Chosen || p.Nominated }) {
			t.Errorf("more than one chosen in %+v", pairs)
		}
		if !slices.IsSortedFunc(pairs, Pair.compare) {
			t.Errorf("not best first: %+v", pairs)
		}
		// Ours: host and relay; the peer's: host, srflx, relay, and what its NAT makes of the relay's checks.
		relays := 0
		for _, p := range pairs {
			if (p.Local.Type == Relayed) != (p.Relay == hubAddr.String()) {
				t.Errorf("%+v, want the relay's server with its address", p)
			}
			if p.Relay != "" {
				relays++
			}
		}
		if len(pairs) < 6 || relays < 3 {
			t.Errorf("%d pairs, %d over our relay, want 6 and 3 at least", len(pairs), relays)
		}
		k.a.stop()
		if n := len(k.a.Pairs()); n != 0 {
			t.Errorf("%d pairs after the end", n)
		}
	})
}
