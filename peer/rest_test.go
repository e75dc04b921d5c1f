package peer

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// restingPair is two peers at rest. Their tunnels hear each other until hears is
// false.
func restingPair(l *lab) (k *link, hears *atomic.Bool, byes *atomic.Int32) {
	l.t.Helper()
	hears, byes = new(atomic.Bool), new(atomic.Int32)
	hears.Store(true)
	var last atomic.Int64
	alive := func() time.Time {
		if hears.Load() {
			last.Store(time.Now().UnixNano())
		}
		return time.Unix(0, last.Load())
	}
	k = l.pair(port(l), port(l), func(a, b *Config) {
		a.Alive, b.Alive = alive, alive
		b.OnBye = func() { byes.Add(1) }
		b.OnNote = func([]byte) { byes.Add(100) }
	})
	k.online()
	k.connected(l, PathDirect, time.Second)
	l.until(5*time.Second, "completed", func() bool { return k.a.Snapshot().ICE == "completed" && k.b.Snapshot().ICE == "completed" })
	k.a.Rest()
	k.b.Rest()
	l.until(time.Second, "at rest", func() bool { return k.a.Snapshot().ICE == "" && k.b.Snapshot().ICE == "" })
	return k, hears, byes
}

// checked waits until both have an ICE session again.
func (k *link) checked(l *lab, limit time.Duration) time.Duration {
	l.t.Helper()
	return l.until(limit, "checked again", func() bool {
		return k.a.Snapshot().ICE == "completed" && k.b.Snapshot().ICE == "completed"
	})
}

// At rest nothing is sent, by either way; the path stays, and notes pass. Wake
// brings the checks back.
func TestRest(t *testing.T) {
	inLab(t, func(l *lab) {
		k, _, told := restingPair(l)
		var packets atomic.Int32
		count := func(from, to netip.AddrPort, b []byte) bool {
			if from != hubAddr && to != hubAddr {
				packets.Add(1)
			}
			return false
		}
		l.drop.Store(&count)
		sent := k.a.sent.Load() + k.b.sent.Load()
		time.Sleep(time.Hour)
		if n := k.a.sent.Load() + k.b.sent.Load() - sent; n != 0 || packets.Load() != 0 {
			t.Errorf("%d messages and %d packets at rest", n, packets.Load())
		}
		if s := k.a.Snapshot(); s.State != Connected || s.Path != PathDirect {
			t.Errorf("at rest: %+v", s)
		}
		k.a.Tell([]byte("note"))
		l.until(time.Second, "told", func() bool { return told.Load() == 100 })
		k.a.Wake()
		if took := k.checked(l, 5*time.Second); took > time.Second {
			t.Errorf("checked %v after Wake", took)
		}
	})
}

// A peer that is not heard any more, or has started anew, gets an offer.
func TestRestEnds(t *testing.T) {
	inLab(t, func(l *lab) {
		k, hears, _ := restingPair(l)
		hears.Store(false)
		if took := k.checked(l, 2*restFor); took < restFor-time.Second || took > restFor+5*time.Second {
			t.Errorf("checked again after %v of silence, want %v", took, restFor)
		}
	})
	inLab(t, func(l *lab) {
		k, _, _ := restingPair(l)
		k.cut.Store(true)
		k.b.stop()
		k.cut.Store(false)
		k.restart(k.b, k.a)
		k.a.SetOnline(true, k.b.self.Epoch)
		k.b.SetOnline(true, k.a.self.Epoch)
		k.checked(l, 5*time.Second)
	})
}

// A node that gets another address makes one offer, and no more.
func TestRestAddressChanges(t *testing.T) {
	inLab(t, func(l *lab) {
		k, _, _ := restingPair(l)
		sent := k.a.sent.Load()
		k.cut.Store(true)
		k.a.underlay.SetAddresses([]netip.Addr{k.a.addr.Addr(), netip.MustParseAddr("192.168.77.7")})
		time.Sleep(time.Second)
		if n := k.a.sent.Load() - sent; n == 0 || n > 3 {
			t.Errorf("%d messages in the first second, want an offer or its repeat", n)
		}
		k.cut.Store(false)
		k.checked(l, 20*time.Second)
	})
}

// A peer that ends says so, also at rest.
func TestRestBye(t *testing.T) {
	inLab(t, func(l *lab) {
		k, _, byes := restingPair(l)
		k.a.stop()
		l.until(time.Second, "told of the end", func() bool { return byes.Load() == 1 })
	})
}
