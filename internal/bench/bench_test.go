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
		only: list{baseline, "p2ptun relayed", "relay p2ptun"},
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
	if len(r.contenders) != 2 || len(r.relays) != 1 {
		t.Fatalf("%d contenders and %d relays, want 2 and 1", len(r.contenders), len(r.relays))
	}
	for _, c := range r.contenders {
		for _, q := range []string{"tcp1", "tcp8 back", "tcp1 cpu a", "tcp1 cpu b", "rss tcp a", "ping p50", "fair loaded p99"} {
			if s := r.results.get(c.name, q); s.count != 1 || s.median <= 0 {
				t.Errorf("%s: %s: %+v, want one value", c.name, q, s)
			}
		}
		for _, table := range tunnelTables {
			for _, row := range table.rows {
				q := row.quantity
				switch {
				case strings.HasSuffix(q, relayProcess), strings.HasPrefix(q, "rss rest"): // only where one is between them; no rest
				case strings.HasPrefix(q, "udp") && !strings.HasSuffix(q, "loss"): // nothing may arrive on a busy machine
				case r.results.get(c.name, q).count != 1:
					t.Errorf("%s: %s was not measured", c.name, q)
				}
			}
		}
	}
	for _, c := range r.relays {
		delivered := map[bool]float64{} // by whether it is down
		for _, l := range relayLoads {
			s := r.relayResults.get(c.name, l.quantity)
			if s.count != 1 {
				t.Errorf("relay %s: %s: %+v, want one value", c.name, l.title, s)
			}
			if l.down || l.rate > 0 { // a flood may leave nothing on a busy machine
				delivered[l.down] += s.median
			}
		}
		if delivered[false] == 0 || delivered[true] == 0 {
			t.Errorf("relay %s has delivered nothing in a direction: %v", c.name, delivered)
		}
	}
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(o.out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| | wireguard-go | p2ptun relayed |", "| p2ptun hub |", "## Goals"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the report has no %q:\n%s", want, b)
		}
	}
}
