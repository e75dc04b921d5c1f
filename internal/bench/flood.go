package main

import (
	"context"
	"fmt"
	"time"
)

// The search for the rate that a path carries nearly all of.
const (
	tolerated   = 0.01 // loss
	searchSteps = 6    // each halves what is not known
	searchPart  = 0.2  // of a load's time, for each
)

// udpStep floods b with packets of a size, then looks for the highest rate
// that loses at most what is tolerated.
func udpStep(quantity string, size int) func(*trial, context.Context) (string, error) {
	return func(t *trial, ctx context.Context) (string, error) {
		l := load{from: t.a, to: t.b, addr: t.addr[1], size: size, rate: unlimited, warmUp: t.warmUp / 2, seconds: t.seconds}
		var cpu []time.Duration
		s, err := l.stream(ctx, func() error {
			now, err := t.cpus()
			for i := range cpu {
				now[i] -= cpu[i]
			}
			cpu = now
			return err
		})
		if err != nil {
			return "", err
		}
		t.add(quantity, s.rate()/1e3)
		t.add(quantity+" loss", 100*s.loss())
		if s.received == 0 {
			return fmt.Sprintf("nothing of %d packets arrived", s.sent), nil
		}
		var all time.Duration
		for _, d := range cpu {
			all += d
		}
		each := all.Seconds() * 1e6 / float64(s.received)
		t.add(quantity+" cpu", each)
		clean, err := l.search(ctx, 2*s.rate())
		if err != nil {
			return "", err
		}
		t.add(quantity+" clean", clean/1e3)
		return fmt.Sprintf("%.0f k/s, %.0f %% lost, %.1f CPU µs each; %.0f k/s with at most %.0f %% lost",
			s.rate()/1e3, 100*s.loss(), each, clean/1e3, 100*tolerated), nil
	}
}

// search returns a rate in packets per second that the path carries, below
// high.
func (l load) search(ctx context.Context, high float64) (float64, error) {
	l.warmUp, l.seconds = l.warmUp*searchPart, l.seconds*searchPart
	low, best := 0.0, 0.0
	for range searchSteps {
		l.rate = (low + high) / 2
		s, err := l.stream(ctx, nil)
		if err != nil {
			return 0, err
		}
		if s.loss() <= tolerated {
			low, best = l.rate, max(best, s.rate())
		} else {
			high = l.rate
		}
	}
	return best, nil
}
