package tunnel

import (
	"testing"
	"time"
)

func TestReadiness(t *testing.T) {
	const never = -1
	tests := []struct {
		name    string
		hub     time.Duration // after the start; never: no word from it
		pending func(at time.Duration) int
		want    time.Duration
	}{
		{"nobody else online", 0, func(time.Duration) int { return 0 }, 0},
		{"a peer connects at once", 0, func(at time.Duration) int { return until(at, 50*time.Millisecond) }, 50 * time.Millisecond},
		{"a peer takes a second", 0, func(at time.Duration) int { return until(at, time.Second) }, time.Second},
		{"a peer never connects", 0, func(time.Duration) int { return 1 }, waitPeers},
		{"the hub is slow", time.Second, func(time.Duration) int { return 0 }, time.Second},
		{"no word from the hub", never, func(time.Duration) int { return 0 }, waitHub},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r readiness
			start := time.Now()
			r.start(start)
			for at := time.Duration(0); at < time.Minute; at += 10 * time.Millisecond {
				if tt.hub != never && at == tt.hub {
					r.hub(start.Add(at))
				}
				if r.check(start.Add(at), tt.pending(at)) {
					if at != tt.want {
						t.Errorf("ready after %v, want %v", at, tt.want)
					}
					if r.check(start.Add(at+time.Hour), 0) {
						t.Error("ready twice")
					}
					return
				}
			}
			t.Error("never ready")
		})
	}
}

// until is one pending peer before a time, none after.
func until(at, connected time.Duration) int {
	if at < connected {
		return 1
	}
	return 0
}
