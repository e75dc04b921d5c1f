package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
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
	r := newReport(o, bins)
	r.once(ctx)
	for round := range o.rounds {
		r.round(ctx, round)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.write(); err != nil { // what there is, if more cannot be had
			return err
		}
	}
	fmt.Println("written:", o.out)
	if len(r.failures) > 0 {
		return fmt.Errorf("%d failed: %s", len(r.failures), strings.Join(r.failures, "; "))
	}
	return nil
}

// once measures what no contender is compared with.
func (r *report) once(ctx context.Context) {
	rate, err := r.bare(ctx)
	if err != nil {
		r.failed("the lab without a tunnel", err)
	} else {
		r.machine = append(r.machine, fact{"the lab without a tunnel", fmt.Sprintf("%.1f Gbit/s, 1 TCP stream", rate)})
	}
	if r.asked("micro-benchmarks") {
		fmt.Println("micro-benchmarks")
		if r.micro, err = runMicro(ctx); err != nil {
			r.failed("micro-benchmarks", err)
		}
	}
	if r.asked("idle") {
		fmt.Println("a thousand known machines, idle")
		if r.idle, err = runIdle(ctx); err != nil {
			r.failed("idle", err)
		}
	}
}

// bare is what the lab itself carries, in Gbit/s: far more than any tunnel, or
// the lab would be measured.
func (r *report) bare(ctx context.Context) (float64, error) {
	s, err := newStage(ctx)
	if err != nil {
		return 0, err
	}
	defer s.close()
	s.addr[0], s.addr[1] = s.a.Addr(), s.b.Addr()
	t := &trial{options: r.options, stage: s, name: "bare", results: make(results)}
	said, err := tcpStep("tcp1", 1, true, false)(t, ctx)
	fmt.Println("the lab without a tunnel:", said)
	return t.results.get("bare", "tcp1").median, err
}

// failed notes what went wrong; the others are measured all the same.
func (r *report) failed(name string, err error) {
	text := fmt.Sprintf("%s: %v", name, err)
	fmt.Println("  FAILED:", text)
	r.failures = append(r.failures, text)
}

// round gives each contender its turn.
func (r *report) round(ctx context.Context, round int) {
	last := round == r.rounds-1
	turn := func(name, skip string, try func() error) {
		switch {
		case ctx.Err() != nil:
			return
		case skip != "":
			fmt.Printf("skipped: %s: %s\n", name, skip)
			return
		}
		fmt.Printf("round %d of %d: %s\n", round+1, r.rounds, name)
		if err := try(); err != nil {
			r.failed(fmt.Sprintf("%s, round %d", name, round+1), err)
		}
	}
	for _, c := range r.contenders {
		turn(c.name, c.skip, func() error { return r.try(ctx, c, last) })
	}
	for _, c := range r.relays {
		turn("relay alone: "+c.name, c.skip, func() error { return r.tryRelay(ctx, c, last) })
	}
}

// try measures a way between machines once.
func (r *report) try(ctx context.Context, c contender, last bool) error {
	s, err := newStage(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := c.start(ctx, s); err != nil {
		return err
	}
	t := &trial{options: r.options, stage: s, name: c.name, last: last, results: r.results}
	for _, step := range steps {
		said, err := step.run(t, ctx)
		if err == nil && s.check != nil {
			err = s.check(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("  %-38s %s\n", step.name, said)
	}
	r.profiles = append(r.profiles, t.profiles...)
	return nil
}
