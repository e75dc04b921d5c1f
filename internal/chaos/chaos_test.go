package main

import (
	"cmp"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

func TestMain(m *testing.M) { natlab.Main(m) }

// TestFaults is the short form of the table: the rows that fit in, once each and
// with shorter faults. The goals are the table's.
func TestFaults(t *testing.T) {
	if err := cmp.Or(natlab.Available(), natlab.TUNAvailable()); err != nil {
		t.Skip("no lab here: ", err)
	}
	o := &options{patience: 10 * time.Second, longest: 3 * time.Second, parallel: 6}
	if err := o.build(t.TempDir(), false); err != nil {
		t.Fatal(err)
	}
	cells := shortForm()
	runAll(t.Context(), o, cells, func(*cell, *outcome) {})
	for _, c := range cells {
		t.Run(c.fault.name+", "+c.pair.name, func(t *testing.T) {
			out, goal := &c.runs[0], c.fault.goal(c.pair)
			t.Log(out)
			if out.misses(goal) {
				t.Errorf("misses its goal of %v", goal)
			}
		})
	}
}

// shortForm is the cells of the short form.
func shortForm() (cells []*cell) {
	for _, f := range faults {
		for _, p := range pairs {
			if has(f.short, p) {
				cells = append(cells, &cell{fault: f, pair: p, runs: make([]outcome, 1)})
			}
		}
	}
	return cells
}

// Each name of a pair that stands in a fault is one.
func TestNames(t *testing.T) {
	for _, f := range faults {
		for _, names := range []string{f.pairs, f.blind, f.short} {
			for _, name := range split(names) {
				if !f.strikes(pairNamed(name)) {
					t.Errorf("%s: does not strike %s", f.name, name)
				}
			}
		}
	}
}
