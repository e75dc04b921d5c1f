package peer

import (
	"testing"
	"time"
)

func TestRetry(t *testing.T) {
	now := time.Unix(1000, 0)
	var r retry
	if at := r.at(false); !at.IsZero() {
		t.Errorf("before any failure: %v", at)
	}
	tests := []struct{ urgent, calm time.Duration }{
		{time.Second, 5 * time.Second},
		{2 * time.Second, 10 * time.Second},
		{4 * time.Second, 20 * time.Second},
		{8 * time.Second, 40 * time.Second},
		{10 * time.Second, 80 * time.Second},
		{10 * time.Second, 160 * time.Second},
		{10 * time.Second, 5 * time.Minute},
		{10 * time.Second, 5 * time.Minute},
	}
	for i, tt := range tests {
		r.failed(now)
		if u, c := r.at(true).Sub(now), r.at(false).Sub(now); u != tt.urgent || c != tt.calm {
			t.Errorf("failure %d: %v and %v, want %v and %v", i+1, u, c, tt.urgent, tt.calm)
		}
	}
	for range 1000 {
		r.failed(now)
	}
	if c := r.at(false).Sub(now); c != calmMaxWait {
		t.Errorf("after many failures: %v", c)
	}
	r.succeeded()
	if at := r.at(true); !at.IsZero() {
		t.Errorf("after a success: %v", at)
	}
}

func TestUpgradeWaits(t *testing.T) {
	now := time.Unix(1000, 0)
	var u upgrade
	u.tried(now)
	if at := u.at(); !at.IsZero() {
		t.Errorf("without a relayed path: %v", at)
	}
	u.relayed(true, now)
	u.relayed(true, now.Add(time.Second)) // still
	for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute} {
		if got := u.at().Sub(now); got != want {
			t.Errorf("wait %v, want %v", got, want)
		}
		now = u.at()
		u.tried(now)
	}
	u.relayed(false, now)
	u.relayed(true, now)
	if got := u.at().Sub(now); got != upgradeWait {
		t.Errorf("relayed again: wait %v, want %v", got, upgradeWait)
	}
}
