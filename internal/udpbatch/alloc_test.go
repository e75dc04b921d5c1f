//go:build !race

package udpbatch

import "testing"

// The race detector makes sync.Pool forget on purpose; so this holds without.
func TestNoAllocations(t *testing.T) {
	for _, home := range homes {
		in, out := listen(t, home), listen(t, home)
		r := NewRun()
		data := pattern(1, 50*1280)
		for range 2 {
			if got := testing.AllocsPerRun(100, func() { roundTrip(t, in, out, r, data) }); got != 0 {
				t.Errorf("%v: %v allocations a run, want none", home, got)
			}
			out.NoGSO()
		}
	}
}
