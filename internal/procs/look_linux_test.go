package procs

import "testing"

func TestIdleTicks(t *testing.T) {
	for stat, want := range map[string]int64{
		"cpu  1 2 3 400 5 6 7 8 9 10\ncpu0 1 1 1 1": 405,
		"cpu  1 2 3": -1, "": -1, "cpu a b c d e f": -1,
	} {
		got, ok := idleTicks([]byte(stat))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", stat, got, want)
		}
	}
}
