//go:build !race

package hub

import "testing"

// The race detector makes sync.Pool forget on purpose; so this holds without.

// TestNoAllocations holds the promise at the top of forward.go.
func TestNoAllocations(t *testing.T) {
	for _, singly := range []bool{false, true} {
		w := newWays(t, singly)
		for way, f := range map[string]func(){"up": w.up, "down": w.down, "inside": w.inside} {
			if got := testing.AllocsPerRun(200, f); got != 0 {
				t.Errorf("%s, singly %v: %v allocations in %d packets, want none", way, singly, got, burstOf)
			}
		}
	}
}
