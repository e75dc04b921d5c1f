package peer

import (
	"net/netip"
	"testing"
	"time"
)

// TestFailureIsExplained: how many pairs there were, and that all were tried.
func TestFailureIsExplained(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		time.Sleep(time.Second)
		l.lose(func(_, _ netip.AddrPort, _ []byte) bool { return true })
		k.online()
		l.until(time.Minute, "failed", func() bool { return k.a.Snapshot().State == Failed })
		s := k.a.Snapshot()
		if s.Pairs < 6 || s.Checked == 0 || s.Checked > s.Pairs || !s.Next.After(time.Now()) {
			t.Errorf("%d of %d pairs were checked, next try at %v", s.Checked, s.Pairs, s.Next)
		}
		if !inOrder(k.a.cfg.Events, "session offered", "session answered", "session failed: ") {
			t.Errorf("it tells %q", texts(k.a.cfg.Events))
		}
	})
}

// TestHiddenPeerIsTold: who offers relays alone is not reached directly, and the
// other side knows.
func TestHiddenPeerIsTold(t *testing.T) {
	inLab(t, func(l *lab) {
		hidden := l.behind(natPort, func(c *UnderlayConfig) { c.RelayOnly = true })
		k := l.pair(port(l), hidden)
		k.online()
		k.connected(l, PathRelayed, 2*time.Second)
		l.until(2*time.Second, "told", func() bool { return k.a.Snapshot().RemoteHidden })
		if k.b.Snapshot().RemoteHidden {
			t.Error("the other side has offered its addresses")
		}
	})
}

// TestMappingIsTold: each side knows the other's, also where it is found later
// than the session begins.
func TestMappingIsTold(t *testing.T) {
	for _, found := range []string{"before", "between offer and answer", "later"} {
		inLab(t, func(l *lab) {
			a, b := l.behind(natSymmetric), l.behind(natPort)
			k := l.pair(a, b)
			k.delay = 300 * time.Millisecond
			if found == "before" {
				l.secondPort(a, b)
			}
			time.Sleep(time.Second) // all else is gathered, so that nothing else is to be told
			k.online()
			if found == "between offer and answer" {
				time.Sleep(k.delay / 2)
				l.secondPort(a, b)
			}
			k.connected(l, PathRelayed, 3*time.Second)
			if found == "later" {
				l.secondPort(a, b)
			}
			l.until(2*time.Second, "told", func() bool {
				return k.a.Snapshot().RemoteMapping == MappingEndpointIndependent && k.b.Snapshot().RemoteMapping == MappingAddressAndPortDependent
			})
		})
	}
}

// TestSuspicionIsTold: that data waits shows at once, and what came of it.
func TestSuspicionIsTold(t *testing.T) {
	inLab(t, func(l *lab) {
		k, a, b := l.flows(port(l), port(l))
		l.talk(a, b)
		k.connected(l, PathDirect, time.Second)
		time.Sleep(5 * time.Second)
		if s := k.a.Snapshot(); s.Suspect || s.Unheard || !s.Avoided.IsZero() {
			t.Errorf("%+v while data passes", s)
		}
		first := k.a.Pairs()[0]
		if first.Loss == nil || *first.Loss != 0 || first.Suspect {
			t.Errorf("path %+v, want no loss measured", first)
		}

		l.lose(func(from, to netip.AddrPort, p []byte) bool { return direct(from, to, p) && isData(p) })
		l.until(time.Second, "suspect", func() bool { return k.a.Snapshot().Suspect })
		if first := k.a.Pairs()[0]; !first.Chosen || !first.Suspect {
			t.Errorf("path %+v, want it suspect", first)
		}
		l.until(5*time.Second, "avoided", func() bool { s := k.a.Snapshot(); return !s.Avoided.IsZero() && s.Path == PathRelayed && !s.Suspect })
		if !inOrder(k.a.cfg.Events, "suspect: ", "avoided: checks are answered but no data passes direct at ") && !inOrder(k.a.cfg.Events, "suspect: ", "path: direct at ", "avoided: ") {
			t.Errorf("it tells %q", texts(k.a.cfg.Events))
		}
		l.lose(nil)
		k.connected(l, PathDirect, 5*time.Second)
		if s := k.a.Snapshot(); !s.Avoided.IsZero() {
			t.Errorf("avoided since %v though it is the path", s.Avoided)
		}
		if !inOrder(k.a.cfg.Events, "data passes again direct at ", "path: relayed") {
			t.Errorf("it tells %q", texts(k.a.cfg.Events))
		}

		// Nobody is there any more: it stays suspect while data waits.
		l.lose(func(netip.AddrPort, netip.AddrPort, []byte) bool { return true })
		l.until(time.Second, "suspect", func() bool { return k.a.Snapshot().Suspect })
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			if !k.a.Snapshot().Suspect {
				t.Fatalf("not suspect any more, though no data passes: %+v", k.a.Snapshot())
			}
		}
	})
}

// TestSuspectAtRest: without checks data tells as well.
func TestSuspectAtRest(t *testing.T) {
	inLab(t, func(l *lab) {
		k, a, _ := l.flows(port(l), port(l))
		k.connected(l, PathDirect, time.Second)
		k.a.Rest()
		k.b.Rest()
		l.until(time.Second, "at rest", func() bool { return k.a.Snapshot().Resting && len(k.a.Pairs()) == 0 })
		l.lose(func(netip.AddrPort, netip.AddrPort, []byte) bool { return true })
		k.cut.Store(true)
		a.send("data")
		l.until(time.Second, "suspect", func() bool { return k.a.Snapshot().Suspect })
	})
}
