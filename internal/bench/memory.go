package main

import (
	"context"
	"fmt"
)

// megabyte is the unit of resident sets.
const megabyte = 1e6

// memoryStep notes what each process holds in memory: now, or at most since
// the last memoryStep.
func memoryStep(quantity string, peak bool) func(*trial, context.Context) (string, error) {
	return func(t *trial, _ context.Context) (said string, err error) {
		for _, p := range t.procs {
			now, most, err := p.memory()
			if err != nil {
				return "", err
			}
			if err := p.resetPeak(); err != nil {
				return "", err
			}
			if peak {
				now = most
			}
			t.add(quantity+" "+p.name, float64(now)/megabyte)
			said += fmt.Sprintf("%s %.1f MB ", p.name, float64(now)/megabyte)
		}
		return said, nil
	}
}

// restStep waits for what is given back after a load.
func restStep(t *trial, ctx context.Context) (string, error) {
	if !t.last || t.rest == 0 {
		return "in the last round", nil
	}
	if err := pause(ctx, t.rest); err != nil {
		return "", err
	}
	return memoryStep("rss rest", false)(t, ctx)
}
