package first

import (
	"cmp"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

func TestMain(m *testing.M) { natlab.Main(m) }

var (
	full   = flag.Bool("full", false, "measure every pair at every delay, and print the table")
	only   = flag.String("pair", "", "measure this pair alone")
	delay  = flag.Duration("delay", -1, "measure at this delay alone")
	single = flag.String("case", "", "measure this case alone")
	source = flag.String("source", "", "measure the program of another work tree")
	level  = flag.String("nodes", "", "the nodes' log level; with one, what they say is shown")
)

// TestTable measures what docs/reliability.md shows, when asked to.
func TestTable(t *testing.T) {
	if !*full {
		t.Skip("asked for with -full")
	}
	requireLab(t)
	bins, err := Build(t.TempDir(), *source)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: memory(t), LogLevel: *level, Cases: Cases}
	if *single != "" {
		o.Cases = []string{*single}
	}
	start := time.Now()
	if *level != "" {
		o.Output = func(process, line string) {
			t.Logf("%7.1f %s: %s", float64(time.Since(start).Microseconds())/1000, process, line)
		}
	}
	var rows []Row
	for _, p := range Pairs {
		for _, d := range Delays {
			if *only != "" && p.Name != *only || *delay >= 0 && d != *delay {
				continue
			}
			some, err := Measure(t.Context(), o, bins, p, d)
			if err != nil {
				t.Error(err)
			}
			for _, r := range some {
				t.Logf("%s", r) // what there is, should the rest take too long
			}
			rows = append(rows, some...)
		}
	}
	t.Log("\n" + Table(rows))
}

func requireLab(t *testing.T) {
	if err := cmp.Or(natlab.Available(), natlab.TUNAvailable()); err != nil {
		t.Skip("no lab here: ", err)
	}
}

// memory is a directory that no disk is slow under: where there is one.
func memory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "p2ptun-first-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
