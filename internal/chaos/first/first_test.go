package first

import (
	"cmp"
	"flag"
	"os"
	"sync"
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
	o := Options{Dir: memory(t), LogLevel: *level, Cases: Cases, Forget: true}
	if *single != "" {
		o.Cases = []string{*single}
	}
	start := time.Now()
	if *level != "" {
		o.Output = func(process, line string) {
			t.Logf("%7.1f %s: %s", float64(time.Since(start).Microseconds())/1000, process, line)
		}
	}
	var mu sync.Mutex // guards rows
	var rows []Row
	for _, d := range Delays {
		for _, name := range o.Cases {
			o := o
			o.Cases = []string{name}
			// All pairs at once, each in a lab of its own: most of the time is waits.
			var all sync.WaitGroup
			for _, p := range Pairs {
				if *only != "" && p.Name != *only || *delay >= 0 && d != *delay {
					continue
				}
				all.Go(func() {
					some, err := Measure(t.Context(), o, bins, p, d)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					rows = append(rows, some...)
				})
				if d == 0 { // but not where it is the processors'
					all.Wait()
				}
			}
			all.Wait()
		}
	}
	t.Log("\n" + Table(rows))
}

// busy is what a goal is missed by where other tests have the processors: joining
// takes some of their time, and is within 40 ms of its goal where it is quiet.
var busy = map[string]time.Duration{Join: slack}

// tries is how often a goal may be missed but for one time: other tests have the
// processors meanwhile.
const tries = 4

// TestGoals holds the goals where they are reached, at 20 ms a link: a machine that
// joins, and an idle peer that a packet wakes, which is delivered.
func TestGoals(t *testing.T) {
	requireLab(t)
	bins, err := Build(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{Join, Idle} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time is waits
			o := Options{Dir: memory(t), Cases: []string{name}}
			for range tries {
				rows, err := Measure(t.Context(), o, bins, Pairs[0], 20*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				if t.Log(rows[0]); rows[0].Reached(busy[name]) {
					return
				}
			}
			t.Errorf("the goal was missed %d times", tries)
		})
	}
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
