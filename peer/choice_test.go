package peer

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pion/ice/v4"
)

// Among relayed pairs one relay wins over two, and a faster way over a slower
// one, if by enough; nominated or not.
func TestChoiceAmongRelayedPairs(t *testing.T) {
	const ms = time.Millisecond
	now := time.Unix(1000, 0)
	s, host, relay := newTestChecks()
	other := &conn{checks: s, id: "other", local: netip.MustParseAddrPort("203.0.113.2:2"), priority: priority(prefRelayed, 9), relay: &Relay{}}
	s.addConn(other)
	behind, theirs := netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("203.0.113.1:9")
	s.announce(theirs, Relayed, priority(prefRelayed, 9))
	two, one, one2 := pairKey{other, theirs}, pairKey{relay, behind}, pairKey{other, behind}
	for i, step := range []struct {
		pair    pairKey
		rtt     time.Duration
		nominal bool // the agent selects it
		want    pairKey
	}{
		{two, 10 * ms, true, two},
		{one, 90 * ms, false, one},   // one relay, however slow
		{two, 10 * ms, true, one},    // whatever the agent says
		{one2, 80 * ms, false, one},  // hardly faster
		{one2, 60 * ms, false, one2}, // faster
		{one, 55 * ms, false, one2},  // hardly
		{one, 55 * ms, true, one},    // about as good, and the agent's
		{one2, 20 * ms, false, one2},
		{pairKey{host, theirs}, 19 * ms, false, one2},
	} {
		s.answered(step.pair, now, step.rtt)
		if step.nominal {
			s.choose(step.pair)
		}
		if c, ok := s.best(now); !ok || c.key != step.want {
			t.Fatalf("step %d: best is %v with %d relays, %v", i, c.key, c.relays(), c.rtt)
		}
	}
	// Who does not answer any more, while others do, is left early.
	s.answered(one, now.Add(lateBy+ms), 50*ms)
	if c, _ := s.best(now.Add(lateBy + ms)); c.key != one {
		t.Errorf("best is %v, which is late", c.key)
	}
	s.answered(pairKey{host, behind}, now, 500*ms)
	if c, _ := s.best(now.Add(lateBy + ms)); !c.direct() {
		t.Errorf("best is %v, want the direct one", c.key)
	}
}

func TestStandby(t *testing.T) {
	now := time.Unix(1000, 0)
	s, host, relay := newTestChecks()
	behind, theirs := netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("203.0.113.1:9")
	s.announce(theirs, Relayed, priority(prefRelayed, 9))
	role := ice.AttrControl{Role: ice.Controlling, Tiebreaker: 7}
	all := []pairKey{{relay, behind}, {relay, theirs}, {host, theirs}}
	check := func(after time.Duration, want int) {
		t.Helper()
		s.best(now.Add(after))
		due, _, next := s.standby(now.Add(after))
		if len(due) != want {
			t.Errorf("after %v: %d pairs are due, want %d", after, len(due), want)
		}
		if want > 0 && next != now.Add(after+standbyEvery) {
			t.Errorf("after %v: next at %v", after, next)
		}
	}
	check(0, 0)
	for _, k := range all {
		s.sent(k, now, &role)
		s.answered(k, now, time.Millisecond)
	}
	check(0, 0)
	check(standbyEvery, 3)
	s.choose(all[0])
	check(standbyEvery, 2) // the agent's it checks itself
	direct := pairKey{host, behind}
	s.sent(direct, now, &role)
	s.answered(direct, now, time.Millisecond)
	check(standbyEvery, 1) // the path, which is not the agent's; no relays beside it
	s.choose(direct)
	check(standbyEvery, 0)
}
