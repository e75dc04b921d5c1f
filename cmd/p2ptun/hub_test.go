package main

import (
	"io"
	"testing"

	"github.com/p2ptun/p2ptun/signaling/hub"
)

// TestRelayRateFlag: the flag counts megabits, and 0 is no limit.
func TestRelayRateFlag(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want int64
	}{
		{nil, hub.DefaultRelayRate},
		{[]string{"--relay-rate", "8"}, 1_000_000},
		{[]string{"--relay-rate", "0"}, -1},
	} {
		o, err := parseHub(env{stderr: io.Discard}, tt.args)
		if err != nil || o.RelayRate != tt.want {
			t.Errorf("%q: %v, %v; want %d bytes per second", tt.args, o, err, tt.want)
		}
	}
}
