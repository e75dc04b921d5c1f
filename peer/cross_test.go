package peer

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestOfferAfterAnswer: an offer that the peer gave up for ours, and that comes
// after its answer, does not end the session that both are checking.
func TestOfferAfterAnswer(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		var first atomic.Bool
		k.filter(func(from *side) (bool, time.Duration) {
			if from == k.b && first.CompareAndSwap(false, true) {
				return true, hop + time.Millisecond // the offer; the answer needs a hop more than it
			}
			return true, 0
		})
		k.b.Wake()
		k.online()
		if took := k.connected(l, PathDirect, 30*time.Second); took > 500*time.Millisecond {
			t.Errorf("connected after %v", took)
		}
	})
}
