package first

import (
	"cmp"
	"os"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

func TestMain(m *testing.M) { natlab.Main(m) }

// tries is how often a goal may be missed but for one time: something else may have
// the processors meanwhile.
const tries = 4

// TestGoals holds the goals at 20 ms a link: of a machine that joins, of one that was
// killed and started again, and of an idle peer that a packet wakes, which is delivered.
func TestGoals(t *testing.T) {
	requireLab(t)
	bins, err := Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{Join, Kill, Idle} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time is waits
			o := Options{Dir: memory(t), Cases: []string{name}}
			for range tries {
				rows, err := Measure(t.Context(), o, bins, Pairs[0], 20*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				if t.Log(rows[0]); rows[0].Reached() {
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
