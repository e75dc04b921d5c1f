package procs

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestGovernor(t *testing.T) {
	look := func(used, idle float64) load { return load{time.Second, used, idle} }
	tests := []struct {
		name  string
		loads []load
		want  []int
	}{
		{"nothing to do", []load{look(0, 4), look(0.1, 3.9)}, []int{1, 1}},
		{"busy, and processors are idle", []load{look(1, 3), look(2, 2), look(3, 1), look(4, 0)}, []int{2, 3, 4, 4}},
		{"busy, and so is all else", []load{look(1, 0.2), look(1, 0.5)}, []int{1, 1}},
		{"somewhat busy", []load{look(0.8, 3), look(0.8, 3)}, []int{1, 1}},
		{"calm again", append([]load{look(1, 3)}, slices.Repeat([]load{look(0.5, 3)}, 6)...), []int{2, 2, 2, 2, 2, 1, 1}},
		{"calm for moments", []load{look(1, 3), look(0, 4), look(0, 4), look(0, 4), look(0, 4), look(1.2, 2), look(0, 4)}, []int{2, 2, 2, 2, 2, 2, 2}},
		{"the second is of use", append([]load{look(1, 3)}, slices.Repeat([]load{look(1.1, 2)}, 9)...), slices.Repeat([]int{2}, 10)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := governor{most: 4, now: 1}
			var got []int
			for _, l := range tt.loads {
				got = append(got, g.next(l))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("processors %v, want %v", got, tt.want)
			}
		})
	}
}

// TestRun: a process with work for two gets them, if the machine has them, and
// ends with what it had.
func TestRun(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	if _, ok := look(); !ok || before < 2 {
		t.Skip("this system does not tell, or has one processor")
	}
	t.Setenv("GOMAXPROCS", "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx) }()
	var over atomic.Bool
	for range 2 {
		go func() {
			for !over.Load() {
				runtime.Gosched()
			}
		}()
	}
	end := time.Now().Add(3 * time.Second)
	one, two := false, false
	for !two && time.Now().Before(end) {
		n := runtime.GOMAXPROCS(0)
		one, two = one || n == 1, one && n == 2
		runtime.Gosched()
	}
	over.Store(true)
	cancel()
	if err := <-done; err != nil || runtime.GOMAXPROCS(0) != before {
		t.Errorf("%v, and %d processors are left, want %d", err, runtime.GOMAXPROCS(0), before)
	}
	switch {
	case !one:
		t.Error("it did not begin with one")
	case !two:
		t.Log("nobody had a processor to spare")
	}
}
