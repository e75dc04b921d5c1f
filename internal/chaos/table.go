package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
)

// cell is one fault on one pair, and what its runs found.
type cell struct {
	fault *fault
	pair  *pair
	runs  []outcome
}

// table runs all that was asked for and writes it down. Its error tells of what
// missed a goal.
func table(ctx context.Context, o *options) (err error) {
	dir, err := os.MkdirTemp("", "p2ptun-chaos-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cells := asked(o)
	if err := o.build(dir, slices.ContainsFunc(cells, func(c *cell) bool { return c.fault.clock })); err != nil {
		return err
	}
	began, busy := time.Now(), readLoad()
	again := runAll(ctx, o, cells, func(c *cell, out *outcome) { fmt.Printf("%s, %s: %s\n", c.fault.name, c.pair.name, out) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r := &report{options: o, cells: cells, took: time.Since(began), idle: busy.idleSince(), again: again}
	if err := r.write(); err != nil {
		return err
	}
	if missed := r.missed(); missed > 0 {
		return fmt.Errorf("%d of %d rows miss a goal", missed, len(cells))
	}
	return nil
}

// asked is the cells whose fault and pair were asked for.
func asked(o *options) (cells []*cell) {
	for _, f := range faults {
		for _, p := range pairs {
			if f.strikes(p) && o.row.MatchString(f.name) && o.pair.MatchString(p.name) {
				cells = append(cells, &cell{fault: f, pair: p, runs: make([]outcome, o.runs)})
			}
		}
	}
	return cells
}

// build makes the programs that were not given: one with a clock that can be
// stepped too, if that is needed.
func (o *options) build(dir string, clock bool) (err error) {
	if o.bin == "" {
		if o.bin, err = e2e.Build(dir, "-buildvcs=false"); err != nil {
			return err
		}
	}
	if !clock {
		return nil
	}
	at := filepath.Join(dir, "clock")
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	o.stepped, err = buildStepped(at)
	return err
}

// crowded is the idle share of the machine below which a run that misses a goal
// may say more about the machine.
const crowded = 0.25

// job is one run of a cell.
type job struct {
	*cell
	run int
}

func (j job) out() *outcome { return &j.runs[j.run] }

func (j job) do(ctx context.Context, o *options, tell func(*cell, *outcome)) {
	if ctx.Err() == nil {
		*j.out() = run(ctx, o, j.fault, j.pair)
		tell(j.cell, j.out())
	}
}

// doubtful says whether a run that misses a goal is to be made again, alone: the
// machine was busy, or the goal is about as long as another lab's process may hold
// a processor.
func (j job) doubtful() bool {
	goal := j.fault.goal(j.pair)
	return j.out().misses(goal) && (j.out().idle < crowded || goal == unnoticed)
}

// runAll makes all runs, several side by side, in an order that spreads what is
// alike, and tells of each. It returns how many it made again.
func runAll(ctx context.Context, o *options, cells []*cell, tell func(*cell, *outcome)) (again int) {
	var jobs []job
	for _, c := range cells {
		for i := range c.runs {
			jobs = append(jobs, job{c, i})
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })
	queue := make(chan job, len(jobs))
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	var workers sync.WaitGroup
	for range o.parallel {
		workers.Go(func() {
			for j := range queue {
				j.do(ctx, o, tell)
			}
		})
	}
	workers.Wait()
	for _, j := range jobs {
		if j.doubtful() {
			j.do(ctx, o, tell)
			again++
		}
	}
	return again
}

func (o *outcome) String() string {
	if o.err != nil {
		return "FAILED: " + o.err.Error()
	}
	return fmt.Sprintf("silence %s %s, TCP stalled %s dead %v, back %s lost %v, hub %s, %.0f %% idle;%s",
		short(o.silence[0]), short(o.silence[1]), short(o.stall), o.dead, short(o.back), o.lost, short(o.hub), 100*o.idle, o.said)
}
