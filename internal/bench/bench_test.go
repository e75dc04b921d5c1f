package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// TestMain is also the processes that this program is when it measures.
func TestMain(m *testing.M) {
	if role(os.Args) {
		return
	}
	natlab.Main(m)
}

// TestBench runs everything once, much too short to tell anything: each
// quantity has a value for each contender, and the report is written.
func TestBench(t *testing.T) {
	if err := cmp.Or(natlab.Available(), natlab.TUNAvailable()); err != nil {
		t.Skip("no lab here: ", err)
	}
	dir := t.TempDir()
	o := &options{
		rounds: 1, seconds: 0.3, warmUp: 0.2, profile: 1, out: filepath.Join(dir, "BENCHMARKS.md"),
		only: list{baseline, "direct", "relay pion", "relay p2ptun"},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	bins, err := programs(o, dir)
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(o, bins)
	if r.round(ctx, 0); len(r.failures) > 0 {
		t.Fatal(r.failures)
	}
	if len(r.contenders) != 2 || len(r.relays) != 2 {
		t.Fatalf("%d contenders and %d relays, want 2 and 2", len(r.contenders), len(r.relays))
	}
	for _, c := range r.contenders {
		for _, table := range tunnelTables {
			for _, row := range table.rows {
				if strings.HasSuffix(row.quantity, relayProcess) || strings.HasPrefix(row.quantity, "rss rest") {
					continue // none between them; no rest
				}
				if s := r.results.get(c.name, row.quantity); s.count != 1 || !row.alone && s.median <= 0 && !strings.HasSuffix(row.quantity, "clean") {
					t.Errorf("%s: %s: %+v, want one value", c.name, row.title, s)
				}
			}
		}
	}
	for _, c := range r.relays {
		for _, l := range relayLoads {
			if s := r.relayResults.get(c.name, l.quantity+" cpu"); s.count != 1 || s.median <= 0 {
				t.Errorf("relay %s: %s: %+v, want one value", c.name, l.title, s)
			}
		}
	}
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(o.out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| | wireguard-go | p2ptun direct |", "| | pion | p2ptun hub |", "## Goals", "p2ptun hub: CPU s/GB, of pion's"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the report has no %q:\n%s", want, b)
		}
	}
}
