package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// connected waits for both sides to have a path of the kind.
func (k *link) connected(l *lab, kind PathKind, within time.Duration) time.Duration {
	l.t.Helper()
	return l.until(within, fmt.Sprintf("%s on both sides", kind), func() bool {
		return k.a.Snapshot().Path == kind && k.b.Snapshot().Path == kind
	})
}

// stream sends a payload each 10 ms from a to b for d, over whatever path a
// has, and returns how many of them did not arrive.
func (k *link) stream(l *lab, d time.Duration) (lost int) {
	n := int(d / (10 * time.Millisecond))
	name := func(i int) string { return fmt.Sprintf("%d/%d", time.Now().UnixNano(), i) }
	names := make([]string, n)
	for i := range names {
		names[i] = name(i)
		k.a.sendData(names[i])
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(time.Second)
	for _, s := range names {
		if !k.b.received(s) {
			lost++
		}
	}
	return lost
}

// relayedPair are two nodes whose NATs would let a direct path through, if the
// WAN did.
func (l *lab) relayedPair() *link {
	l.t.Helper()
	k := l.pair(port(l), port(l))
	l.lose(direct)
	k.online()
	k.connected(l, PathRelayed, time.Second)
	return k
}

func TestRelayCarriesUntilDirectAnswers(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.relayedPair()
		if lost := k.stream(l, 2*time.Second); lost > 0 {
			t.Errorf("%d packets lost on the relayed path", lost)
		}
		l.lose(nil)
		took := k.connected(l, PathDirect, time.Second)
		t.Logf("direct %v after it was possible", took)
		if lost := k.stream(l, 2*time.Second); lost > 0 {
			t.Errorf("%d packets lost on the direct path", lost)
		}
	})
}

func TestPathMovesWithoutLoss(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.relayedPair()
		l.after(time.Second, func() { l.lose(nil) })
		if lost := k.stream(l, 4*time.Second); lost > 0 {
			t.Errorf("%d packets lost while the path moved", lost)
		}
		if got := k.a.Snapshot().Path; got != PathDirect {
			t.Errorf("path %s, want direct", got)
		}
	})
}

// A source must be known before anything is sent there: the tunnel drops
// packets from unknown ones.
func TestSourcesAreToldBeforeTheyAreUsed(t *testing.T) {
	for _, nat := range []func(*lab) *node{port, symmetric} {
		inLab(t, func(l *lab) {
			a, b := nat(l), port(l)
			k := l.pair(a, b)
			k.online()
			l.until(time.Second, "path", func() bool { _, ok := k.a.path(); return ok })
			k.b.mu.Lock()
			defer k.b.mu.Unlock()
			k.b.node.mu.Lock()
			defer k.b.node.mu.Unlock()
			if len(k.b.seen) == 0 {
				t.Error("a may send, but b was not told from where")
			}
		})
	}
}

func TestNewGenerationKeepsPathAndLosesNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		a, b := port(l), port(l)
		k := l.pair(a, b)
		k.online()
		k.connected(l, PathDirect, time.Second)
		before := k.a.Snapshot()
		// A second address that leads nowhere is a change of the network.
		a.underlay.SetAddresses([]netip.Addr{a.addr.Addr(), netip.MustParseAddr("10.9.9.9")})
		if lost := k.stream(l, 20*time.Second); lost > 0 {
			t.Errorf("%d packets lost over the new generation", lost)
		}
		after := k.a.Snapshot()
		if before.Remote != after.Remote || after.ICE != "completed" || k.b.Snapshot().ICE != "completed" {
			t.Errorf("path %+v, want completed over %+v", after, before.Remote)
		}
		if paths := k.a.history(); len(paths) != 1 {
			t.Errorf("paths %v, want one that never moved", paths)
		}
	})
}

// A new session that has a relayed pair first does not take the path off a
// direct one that works.
func TestNewGenerationMakesNoDetour(t *testing.T) {
	inLab(t, func(l *lab) {
		a, b := port(l), port(l)
		k := l.pair(a, b)
		k.online()
		k.connected(l, PathDirect, time.Second)
		time.Sleep(3 * time.Second)
		l.lose(func(from, to netip.AddrPort, b []byte) bool { return direct(from, to, b) && isSTUN(b) })
		a.underlay.SetAddresses([]netip.Addr{a.addr.Addr(), netip.MustParseAddr("10.9.9.9")})
		l.after(2*time.Second, func() { l.lose(nil) })
		if lost := k.stream(l, 20*time.Second); lost > 0 {
			t.Errorf("%d packets lost", lost)
		}
		if paths := k.a.history(); len(paths) != 1 {
			t.Errorf("paths %v, want one that never moved", paths)
		}
	})
}

func TestOldPathStaysWhileNewGenerationFails(t *testing.T) {
	inLab(t, func(l *lab) {
		a, b := port(l), port(l)
		k := l.pair(a, b)
		k.online()
		k.connected(l, PathDirect, time.Second)
		// Answers no longer come through, so no new session can begin.
		k.filter(func(from *side) (bool, time.Duration) { return from == k.a, 0 })
		a.underlay.SetAddresses([]netip.Addr{a.addr.Addr(), netip.MustParseAddr("10.9.9.9")})
		if lost := k.stream(l, 40*time.Second); lost > 0 {
			t.Errorf("%d packets lost while the peer did not answer", lost)
		}
		if s := k.a.Snapshot(); s.State != Connected || s.Path != PathDirect {
			t.Errorf("%+v, want connected", s)
		}
		k.filter(nil)
		l.until(15*time.Second, "new session", func() bool { return k.a.Snapshot().ICE == "completed" })
	})
}

// The hub and the peer's presence matter to introduce, not to stay connected.
func TestHubLossChangesNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		k.online()
		k.connected(l, PathDirect, time.Second)
		time.Sleep(time.Second)
		k.cut.Store(true)
		l.lose(toHub)
		k.a.SetOnline(false, 0)
		k.b.SetOnline(false, 0)
		if lost := k.stream(l, 2*time.Minute); lost > 0 {
			t.Errorf("%d packets lost without the hub", lost)
		}
		if s := k.a.Snapshot(); s.State != Connected || s.ICE != "completed" {
			t.Errorf("%+v, want completed", s)
		}
	})
}

func TestTunnelTrafficHoldsASessionThatICEGaveUp(t *testing.T) {
	inLab(t, func(l *lab) {
		alive := func(a, b *Config) { a.Alive, b.Alive = time.Now, time.Now }
		k := l.pair(port(l), port(l), alive)
		k.online()
		k.connected(l, PathDirect, time.Second)
		time.Sleep(2 * time.Second)
		sent := k.a.sent.Load()
		// STUN is lost, the tunnel's packets are not.
		l.lose(func(from, to netip.AddrPort, b []byte) bool { return direct(from, to, b) && isSTUN(b) })
		if lost := k.stream(l, time.Minute); lost > 0 {
			t.Errorf("%d packets lost", lost)
		}
		s := k.a.Snapshot()
		if s.State != Connected || s.Path != PathDirect || s.ICE != "disconnected" {
			t.Errorf("%+v, want a connected tunnel over a disconnected session", s)
		}
		l.lose(nil)
		l.until(5*time.Second, "completed, by the same session", func() bool { return k.a.Snapshot().ICE == "completed" })
		if k.a.sent.Load() != sent {
			t.Errorf("%d messages sent: the session was made anew", k.a.sent.Load()-sent)
		}
	})
}

func TestSilentPeerGetsNewSession(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		k.online()
		k.connected(l, PathDirect, time.Second)
		l.lose(direct) // for good: only the relay is left
		took := k.connected(l, PathRelayed, 30*time.Second)
		t.Logf("relayed %v after the direct path was cut", took)
		if took > 20*time.Second {
			t.Errorf("relayed after %v, want at most 20s", took)
		}
		l.lose(nil)
		took = k.connected(l, PathDirect, 2*time.Minute)
		t.Logf("direct %v after it was possible again", took)
	})
}

func TestUpgradeOfRelayedPath(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.relayedPair()
		l.until(15*time.Second, "relayed pair nominated", func() bool { return k.a.Snapshot().ICE == "completed" })
		l.lose(nil) // too late for this session
		took := k.connected(l, PathDirect, time.Minute)
		t.Logf("direct %v later", took)
	})
}

func TestPathsAreDistinct(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(symmetric(l), symmetric(l))
		k.online()
		k.connected(l, PathRelayed, time.Second)
		time.Sleep(3 * time.Minute) // some attempts at a better one
		if distinct := slices.Compact(slices.Clone(k.a.history())); len(distinct) != len(k.a.history()) {
			t.Errorf("paths %v: one was told twice", k.a.history())
		}
	})
}

// relays is how many relays the side's path leads through.
func (s *side) relays() (n int) {
	snap := s.Snapshot()
	for _, e := range []Endpoint{snap.Local, snap.Remote} {
		if e.Type == Relayed {
			n++
		}
	}
	return n
}

// One relay is enough wherever a NAT's mapping for it can be reached.
func TestOneRelayIsEnough(t *testing.T) {
	for name, other := range map[string]func(*lab) *node{"port": port, "symmetric": symmetric} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				k := l.pair(symmetric(l), other(l))
				k.online()
				k.connected(l, PathRelayed, time.Second)
				one := func() bool { return k.a.relays() == 1 && k.b.relays() == 1 }
				took := l.until(2*time.Second, "over one relay", one)
				t.Logf("over one relay after %v", took)
				for range 60 {
					time.Sleep(time.Second)
					if !one() {
						t.Fatalf("%+v and %+v, want one relay for good", k.a.Snapshot(), k.b.Snapshot())
					}
				}
			})
		})
	}
}

// A pair over two relays that was nominated gives way to one over one.
func TestTwoRelaysGiveWayToOne(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(symmetric(l), symmetric(l))
		l.lose(overOneRelay)
		k.online()
		k.connected(l, PathRelayed, time.Second)
		l.until(15*time.Second, "nominated", func() bool { return k.a.Snapshot().ICE == "completed" })
		if k.a.relays() != 2 || k.b.relays() != 2 {
			t.Fatalf("%+v, want two relays", k.a.Snapshot())
		}
		l.lose(nil)
		took := l.until(time.Minute, "over one relay", func() bool { return k.a.relays() == 1 && k.b.relays() == 1 })
		t.Logf("over one relay %v after it was possible", took)
		if lost := k.stream(l, 10*time.Second); lost > 0 {
			t.Errorf("%d packets lost", lost)
		}
	})
}
