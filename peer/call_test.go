package peer

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestCallHandshake: the peer is told, once for each call, by a session alone.
func TestCallHandshake(t *testing.T) {
	inLab(t, func(l *lab) {
		var told atomic.Int32
		k := l.pair(public(l), public(l), func(_, b *Config) { b.OnInitiate = func() { told.Add(1) } })
		k.a.CallHandshake() // too early
		k.online()
		k.connected(l, PathDirect, time.Second)
		time.Sleep(time.Second)
		if n := told.Load(); n != 0 {
			t.Errorf("told %d times before the call", n)
		}
		for want := range int32(2) {
			k.a.CallHandshake()
			l.until(time.Second, "told", func() bool { return told.Load() == want+1 })
		}
	})
}
