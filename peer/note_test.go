package peer

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestTell: a note reaches the peer once, and by a session alone.
func TestTell(t *testing.T) {
	inLab(t, func(l *lab) {
		var sessions, told atomic.Int32
		k := l.pair(public(l), public(l), func(a, b *Config) {
			a.OnSession = func(time.Time) { sessions.Add(1) }
			b.OnNote = func(note []byte) {
				if string(note) != "note" {
					t.Errorf("told %q", note)
				}
				told.Add(1)
			}
		})
		k.a.Tell([]byte("note")) // too early
		k.online()
		k.connected(l, PathDirect, time.Second)
		time.Sleep(time.Second)
		if n := told.Load(); n != 0 || sessions.Load() != 1 {
			t.Errorf("told %d times before the session, of which there were %d", n, sessions.Load())
		}
		for want := range int32(2) {
			k.a.Tell([]byte("note"))
			l.until(time.Second, "told", func() bool { return told.Load() == want+1 })
		}
		k.a.Tell(make([]byte, MaxNote+1)) // too long: dropped
		k.a.Tell([]byte("note"))
		l.until(time.Second, "told", func() bool { return told.Load() == 3 })
	})
}
