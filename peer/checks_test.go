package peer

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pion/ice/v4"
)

// newTestChecks returns a session with a host and a relay conn.
func newTestChecks() (s *checks, host, relay *conn) {
	s = newChecks("ours", func() {}, func(*Relay, netip.AddrPort) {})
	host = &conn{mux: newMux(nil, nil), checks: s, id: "host", local: netip.MustParseAddrPort("192.0.2.1:1"), priority: priority(prefHost, 1)}
	relay = &conn{mux: newMux(nil, nil), checks: s, id: "relay", local: netip.MustParseAddrPort("203.0.113.1:2"), priority: priority(prefRelayed, 1), relay: &Relay{server: &server{}}}
	s.addConn(host)
	s.addConn(relay)
	return s, host, relay
}

func TestBestPair(t *testing.T) {
	ap := netip.MustParseAddrPort
	now := time.Unix(1000, 0)
	s, host, relay := newTestChecks()
	s.announce(ap("198.51.100.1:1"), Host, priority(prefHost, 9))
	s.announce(ap("198.51.100.2:1"), ServerReflexive, priority(prefServerReflexive, 9))
	s.announce(ap("203.0.113.1:9"), Relayed, priority(prefRelayed, 9))
	best := func(want pairKey, direct bool) {
		t.Helper()
		c, ok := s.best(now, verdict{})
		if !ok || c.key != want || c.direct() != direct {
			t.Errorf("best is %v %v, direct %v; want %v, direct %v", c.key, ok, c.direct(), want, direct)
		}
	}
	if _, ok := s.best(now, verdict{}); ok {
		t.Error("a best pair before any answered")
	}
	steps := []struct {
		pair   pairKey
		direct bool
	}{ // each better than all before
		{pairKey{relay, ap("203.0.113.1:9")}, false},
		{pairKey{relay, ap("198.51.100.2:1")}, false},
		{pairKey{host, ap("203.0.113.1:9")}, false},
		{pairKey{host, ap("198.51.100.7:7")}, true}, // prflx of unknown priority
		{pairKey{host, ap("198.51.100.2:1")}, true},
		{pairKey{host, ap("198.51.100.1:1")}, true},
	}
	for i, step := range steps {
		s.answered(step.pair, now, max(100-20*time.Duration(i), 40)*time.Millisecond)
		best(step.pair, step.direct)
	}
	s.choose(steps[4].pair)
	best(steps[4].pair, true) // what the agent selected, while it is valid
	now = now.Add(validFor)
	if c, ok := s.best(now, verdict{}); ok {
		t.Errorf("best is %v long after the last response", c.key)
	}
	s.answered(steps[0].pair, now, 0)
	best(steps[0].pair, false)
}

func TestRemoteIsNamedAsAnnounced(t *testing.T) {
	addr := netip.MustParseAddrPort("203.0.113.1:9")
	now := time.Unix(1000, 0)
	s, host, _ := newTestChecks()
	s.answered(pairKey{host, addr}, now, 0)
	if c, _ := s.best(now, verdict{}); c.remoteType != PeerReflexive || !c.direct() {
		t.Errorf("%s, direct %v, want prflx and direct", c.remoteType, c.direct())
	}
	s.announce(addr, Relayed, 1)
	if c, _ := s.best(now, verdict{}); c.remoteType != Relayed || c.direct() {
		t.Errorf("%s, direct %v, want relay", c.remoteType, c.direct())
	}
}

func TestTriggeredCheck(t *testing.T) {
	k := func(c *conn) pairKey { return pairKey{c, netip.MustParseAddrPort("198.51.100.1:1")} }
	now := time.Unix(1000, 0)
	role := ice.AttrControl{Role: ice.Controlling, Tiebreaker: 7}
	s, host, _ := newTestChecks()
	if check, _ := s.asked(k(host), 1, now, now); check {
		t.Error("a check before the role is known")
	}
	s.sent(k(host), now.Add(-time.Millisecond), &role)
	if check, got := s.asked(k(host), 1, now, now); !check || got != role {
		t.Errorf("check %v under %+v, want one under the agent's role", check, got)
	}
	s.sent(k(host), now, &role) // the agent has answered the check with one
	if check, _ := s.asked(k(host), 1, now, now); check {
		t.Error("a check beside the agent's own")
	}
	s.answered(k(host), now, 0)
	later := now.Add(time.Second)
	if check, _ := s.asked(k(host), 1, later, later); check {
		t.Error("a check of a pair that is valid")
	}
}

func TestSourcesAreBounded(t *testing.T) {
	s, host, _ := newTestChecks()
	addr := func(i int) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), uint16(i)) }
	known := netip.MustParseAddrPort("198.51.100.2:1")
	s.announce(known, Host, 1)
	for i := range 2 * maxRemotes {
		if s.admits(addr(i)) {
			s.asked(pairKey{host, addr(i)}, 1, time.Time{}, time.Time{})
		}
	}
	if len(s.sources) != maxRemotes || s.admits(addr(maxRemotes)) {
		t.Errorf("%d sources, want %d and no more", len(s.sources), maxRemotes)
	}
	if !s.admits(addr(0)) || !s.admits(known) {
		t.Error("known addresses are refused")
	}
}

// TestSparseChecks: an address that nobody was heard from is checked seldom
// after the first second, one that somebody was heard from as the agent likes.
func TestSparseChecks(t *testing.T) {
	s, host, _ := newTestChecks()
	silent := pairKey{host, netip.MustParseAddrPort("198.51.100.1:1")}
	run := func(k pairKey, from, to time.Duration) (left int) {
		for at := from; at < to; at += checkInterval {
			if now := time.Unix(1000, 0).Add(at); !s.tooSoon(k, now) {
				s.sent(k, now, nil)
				left++
			}
		}
		return left
	}
	if n := run(silent, 0, time.Second); n != eagerChecks {
		t.Errorf("%d checks in the first second, want %d", n, eagerChecks)
	}
	if n := run(silent, time.Second, 11*time.Second); n < 9 || n > 10 {
		t.Errorf("%d checks in the next 10 seconds", n)
	}
	s.asked(silent, 1, time.Unix(1011, 0), time.Unix(1011, 0))
	if n := run(silent, 11*time.Second, 12*time.Second); n != 5 {
		t.Errorf("%d checks in a second once the peer was heard from there", n)
	}
	answered := pairKey{host, netip.MustParseAddrPort("198.51.100.2:1")}
	s.answered(answered, time.Unix(1000, 0), time.Millisecond)
	if n := run(answered, 0, 10*time.Second); n != 50 {
		t.Errorf("%d checks in 10 seconds of a pair that was answered", n)
	}
}

// To say how a session stands is not to choose.
func TestStateChoosesNothing(t *testing.T) {
	now := time.Unix(1000, 0)
	s, host, relay := newTestChecks()
	behind := netip.MustParseAddrPort("198.51.100.1:1")
	s.answered(pairKey{host, behind}, now, time.Millisecond)
	s.answered(pairKey{relay, behind}, now, time.Millisecond)
	avoid := func(p Path) bool { return p.Relay == nil }
	if c, _ := s.best(now, verdict{avoid: avoid}); c.direct() {
		t.Fatal("what is avoided is chosen")
	}
	before := s.chosen
	g := &generation{checks: s, started: now}
	if state := g.state(now); state != "connected" || s.chosen != before {
		t.Errorf("%s; chosen %v, before %v", state, s.chosen, before)
	}
}

// What carries no data is chosen when all else is silent, and not before.
func TestAvoidedComesLast(t *testing.T) {
	now := time.Unix(1000, 0)
	s, host, relay := newTestChecks()
	behind := netip.MustParseAddrPort("198.51.100.1:1")
	direct, relayed := pairKey{host, behind}, pairKey{relay, behind}
	avoid := verdict{avoid: func(p Path) bool { return p.Relay == nil }}
	s.answered(direct, now, time.Millisecond)
	s.answered(relayed, now, time.Millisecond)
	if c, _ := s.best(now, avoid); c.key != relayed {
		t.Fatal("what is avoided is chosen")
	}
	for range 2 * maxTries { // it loses much, but is not silent
		s.sent(relayed, now.Add(time.Second), nil)
	}
	s.answered(direct, now.Add(validFor-1), time.Millisecond)
	if c, _ := s.best(now.Add(validFor-1), avoid); c.key != relayed {
		t.Error("what carries nothing is chosen before what loses much")
	}
	s.answered(direct, now.Add(validFor), time.Millisecond)
	if c, _ := s.best(now.Add(validFor), avoid); c.key != direct {
		t.Error("a relay that is silent is kept")
	}
}
