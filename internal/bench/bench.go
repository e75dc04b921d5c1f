package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// bench runs all rounds and writes the report.
func bench(ctx context.Context, o *options) (err error) {
	dir, err := os.MkdirTemp("", "p2ptun-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bins, err := programs(o, dir)
	if err != nil {
		return err
	}
	r := &report{
		options: o, start: time.Now(),
		contenders: contenders(o, bins), results: make(results),
		relays: relayContenders(o, bins), relayResults: make(results),
	}
	for round := range o.rounds {
		for _, c := range r.contenders {
			if c.skip != "" {
				continue
			}
			fmt.Printf("round %d of %d: %s\n", round+1, o.rounds, c.name)
			if err := r.try(ctx, c, round == o.rounds-1); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		for _, c := range r.relays {
			if c.skip != "" {
				continue
			}
			fmt.Printf("round %d of %d: relay alone: %s\n", round+1, o.rounds, c.name)
			if err := r.tryRelay(ctx, c); err != nil {
				return fmt.Errorf("relay %s: %w", c.name, err)
			}
		}
	}
	return r.write()
}

// try measures a contender once.
func (r *report) try(ctx context.Context, c contender, last bool) error {
	s, err := newStage(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := c.start(ctx, s); err != nil {
		return err
	}
	t := &trial{r.options, s, c.name, last, r.results}
	for _, step := range steps {
		said, err := step.run(t, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("  %-34s %s\n", step.name, said)
		if s.check != nil {
			if err := s.check(ctx); err != nil {
				return fmt.Errorf("after %s: %w", step.name, err)
			}
		}
	}
	return nil
}
