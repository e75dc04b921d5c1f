package tunnel

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAwake(t *testing.T) {
	type step struct{ passed, suspended, want time.Duration }
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"each second", []step{{tick, 0, 0}, {tick, 0, 0}, {fastTick, 0, 0}}},
		{"a busy machine", []step{{3 * time.Second, 0, 0}, {tick + frozenMin - 1, 0, 0}}},
		{"suspended", []step{{tick, 8 * time.Hour, 8 * time.Hour}, {tick, 0, 0}}},
		{"suspended within a tick", []step{{fastTick, 3 * time.Second, 3 * time.Second}}},
		{"the clocks are read one after the other", []step{{tick, time.Millisecond, 0}, {tick, -time.Millisecond, 0}}},
		{"stopped", []step{{tick + 10*time.Second, 0, 10 * time.Second}, {tick, 0, 0}}},
		{"stopped and suspended", []step{{tick + 6*time.Second, time.Minute, time.Minute + 6*time.Second}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var a awake
			var asleep time.Duration
			if got := a.missed(time.Now(), 24*time.Hour); got != 0 {
				t.Errorf("%s: %v at first", tt.name, got)
			}
			asleep = 24 * time.Hour // before the process began
			for i, s := range tt.steps {
				time.Sleep(s.passed)
				asleep += s.suspended
				if got := a.missed(time.Now(), asleep); got != s.want {
					t.Errorf("%s, step %d: missed %v, want %v", tt.name, i, got, s.want)
				}
			}
		})
	}
}

// The machine that runs the tests does not sleep while it does.
func TestSuspended(t *testing.T) {
	before := suspended()
	if d := suspended() - before; d.Abs() > time.Second || before < -time.Second {
		t.Errorf("suspended for %v, and then for %v more", before, d)
	}
}
