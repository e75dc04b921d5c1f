package peer

import (
	"testing"
	"time"
)

func TestPeerRestart(t *testing.T) {
	for _, lower := range []bool{true, false} {
		inLab(t, func(l *lab) {
			k := l.pair(port(l), port(l))
			k.online()
			k.connected(l, PathDirect, time.Second)
			time.Sleep(2 * time.Second)
			// One side is killed, and comes back under another epoch.
			dead, other := k.b, k.a
			if lower {
				dead, other = k.a, k.b
			}
			k.cut.Store(true)
			dead.stop()
			k.cut.Store(false)
			k.restart(dead, other)
			other.SetOnline(true, dead.self.Epoch)
			dead.SetOnline(true, other.self.Epoch)
			took := l.until(5*time.Second, "connected again", func() bool {
				return dead.Snapshot().State == Connected && other.Snapshot().ICE == "completed"
			})
			t.Logf("lower key restarts %v: connected after %v", lower, took)
			if took > 900*time.Millisecond {
				t.Errorf("connected after %v, want less than a second", took)
			}
		})
	}
}

// What was better with the run before is no reason to wait for as good again.
func TestPeerRestartsWithWorsePath(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(symmetric(l), symmetric(l))
		k.online()
		k.connected(l, PathRelayed, time.Second)
		l.until(time.Second, "over one relay", func() bool { return k.a.relays() == 1 })
		k.cut.Store(true)
		k.b.stop()
		k.cut.Store(false)
		l.lose(overOneRelay)
		k.restart(k.b, k.a)
		k.a.SetOnline(true, k.b.self.Epoch)
		k.b.SetOnline(true, k.a.self.Epoch)
		took := l.until(900*time.Millisecond, "over two relays", func() bool { return k.a.relays() == 2 && k.b.relays() == 2 })
		t.Logf("connected after %v", took)
	})
}

func TestPeerRestartWithoutPresence(t *testing.T) {
	// The other side learns of the restart only by what it is sent.
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		k.online()
		k.connected(l, PathDirect, time.Second)
		k.cut.Store(true)
		k.b.stop()
		k.cut.Store(false)
		k.restart(k.b, k.a)
		k.b.SetOnline(true, k.a.self.Epoch)
		l.until(5*time.Second, "connected again", func() bool { return k.b.Snapshot().State == Connected })
	})
}

func TestBye(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		k.online()
		k.connected(l, PathDirect, time.Second)
		k.b.stop()
		k.a.SetOnline(false, 0)
		l.until(time.Second, "idle", func() bool { return k.a.Snapshot().State == Idle })
		if s := k.b.Snapshot(); s != (Snapshot{State: Idle, Path: PathNone}) {
			t.Errorf("%+v after Run, want idle", s)
		}
		if n := len(k.a.history()); n != 1 {
			t.Errorf("%d paths, want the one that stays", n)
		}
	})
}

func TestStates(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		state := func(want State, ice string) {
			t.Helper()
			l.until(time.Minute, "state "+string(want), func() bool {
				s := k.a.Snapshot()
				return s.State == want && s.ICE == ice
			})
		}
		state(Idle, "")
		k.cut.Store(true)
		k.a.SetOnline(true, 2)
		state(Signaling, "new")
		k.cut.Store(false)
		k.a.mute.Store(true)
		state(Checking, "checking")
		state(Failed, "")
		k.a.mute.Store(false)
		state(Connected, "completed")
		k.a.deaf.Store(true)
		k.a.SetOnline(false, 0)
		state(Disconnected, "disconnected")
		k.a.deaf.Store(false)
		state(Connected, "completed")
	})
}

func TestWakeOffersAtOnce(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l), func(a, b *Config) { a.Offerer = false })
		k.b.SetOnline(true, 1)
		k.b.Wake()
		took := k.connected(l, PathDirect, time.Second)
		if took > 200*time.Millisecond {
			t.Errorf("connected %v after Wake, want at once", took)
		}
	})
}

func TestOfflinePeerGetsNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		k.a.Wake()
		time.Sleep(time.Minute)
		if k.a.sent.Load() != 0 {
			t.Errorf("%d messages to a peer that is not online", k.a.sent.Load())
		}
	})
}

func TestJunkMessagesAreCounted(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		for range 2 * maxInbox {
			k.a.Receive([]byte("junk"))
		}
		k.online()
		k.connected(l, PathDirect, time.Second)
		if d := k.a.underlay.Drops(); d.Messages == 0 || d.Messages+d.Overflow != 2*maxInbox {
			t.Errorf("drops %+v, want messages opened in vain or overflown, %d in all", d, 2*maxInbox)
		}
	})
}

func TestInboxIsBounded(t *testing.T) {
	in := newInbox()
	for i := range 2 * maxInbox {
		if ok := in.receive(nil); ok != (i < maxInbox) {
			t.Fatalf("message %d taken: %v", i, ok)
		}
	}
	in.setOnline(true, 7)
	in.wanted()
	if n := in.take(); len(n.sealed) != maxInbox || !n.online || n.epoch != 7 || !n.woken {
		t.Errorf("%d messages, online %v, epoch %d, woken %v", len(n.sealed), n.online, n.epoch, n.woken)
	}
	if n := in.take(); len(n.sealed) != 0 || !n.online || n.woken {
		t.Error("news were told twice, or presence forgotten")
	}
}
