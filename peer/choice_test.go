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
	other := &conn{mux: newMux(nil, nil), checks: s, id: "other", local: netip.MustParseAddrPort("203.0.113.2:2"), priority: priority(prefRelayed, 9), relay: &Relay{server: &server{}}}
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
		for range 30 {
			s.answered(step.pair, now, step.rtt)
		}
		if step.nominal {
			s.choose(step.pair)
		}
		if c, ok := s.best(now, verdict{}); !ok || c.key != step.want {
			t.Fatalf("step %d: best is %v with %d relays, %v", i, c.key, c.relays(), c.rtt)
		}
	}
	// Who does not answer any more, while others do, is left early.
	s.answered(one, now.Add(lateBy+ms), 50*ms)
	if c, _ := s.best(now.Add(lateBy+ms), verdict{}); c.key != one {
		t.Errorf("best is %v, which is late", c.key)
	}
	s.answered(pairKey{host, behind}, now, 500*ms)
	if c, _ := s.best(now.Add(lateBy+ms), verdict{}); !c.direct() {
		t.Errorf("best is %v, want the direct one", c.key)
	}
}

func TestSchedule(t *testing.T) {
	now := time.Unix(1000, 0)
	s, host, relay := newTestChecks()
	behind, theirs := netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("203.0.113.1:9")
	s.announce(theirs, Relayed, priority(prefRelayed, 9))
	role := ice.AttrControl{Role: ice.Controlling, Tiebreaker: 7}
	check := func(what string, after time.Duration, e eagerness, want int) {
		t.Helper()
		at := now.Add(after)
		s.best(at, verdict{})
		due, _, next := s.schedule(at, e)
		if len(due) != want {
			t.Errorf("%s: %d pairs are due after %v, want %d", what, len(due), after, want)
		}
		if want > 0 && !next.After(at) {
			t.Errorf("%s: next at %v", what, next)
		}
	}
	calm := eagerness{moved: now.Add(-time.Hour)}
	check("nothing yet", 0, calm, 0)
	for _, k := range []pairKey{{relay, behind}, {relay, theirs}, {host, theirs}} {
		s.sent(k, now, &role)
		s.answered(k, now, time.Millisecond)
	}
	check("just checked", 0, calm, 0)
	check("relayed", calmEvery, calm, 3)
	s.choose(pairKey{relay, behind})
	check("the agent's it checks itself", calmEvery, calm, 2)
	check("with data", calmEvery, eagerness{moved: calm.moved, flowing: true}, 3)
	direct := pairKey{host, behind}
	s.sent(direct, now.Add(-time.Hour), &role)
	check("what is better, later", 0, calm, 1)
	s.sent(direct, now, &role)
	check("what is better, later", freshEvery, calm, 0)
	check("what is better, soon", freshEvery, eagerness{moved: now}, 1)
	s.answered(direct, now, time.Millisecond)
	check("direct", calmEvery, calm, 1)
	s.choose(direct)
	check("direct, the agent's", calmEvery, calm, 0)
	check("direct, with data", spareEvery-time.Second, eagerness{moved: calm.moved, flowing: true}, 1) // the path; the others are not due
	s.answered(direct, now.Add(spareEvery), time.Millisecond)
	check("direct, with data", spareEvery, eagerness{moved: calm.moved, flowing: true}, 4)
	check("tried", tryEvery, eagerness{moved: calm.moved, trial: now}, 1)
	s.answered(direct, now.Add(spareEvery), time.Millisecond)
	check("suspect", tryEvery, eagerness{moved: calm.moved, trial: now, suspect: true}, 4)
}
