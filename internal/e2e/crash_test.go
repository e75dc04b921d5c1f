package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

var (
	crashRounds = flag.Int("rounds", 3, "rounds of each kind in TestCrash")
	crashSeed   = flag.Uint64("seed", 0, "of TestCrash; 0 draws one")
)

// What crashes in a round: one of these choices.
var (
	hubCrashes  = [][]string{{"hub"}, {"hub"}, {"hub"}, {"hub", "keeper", "joiner"}}
	nodeCrashes = [][]string{{"keeper"}, {"joiner"}, {"keeper", "joiner"}}
)

// longestWork is how long after its beginning a round's work is interrupted at
// the latest; an undisturbed join takes a third of it.
const longestWork = 300 * time.Millisecond

// TestCrash: while machines join and invites are made, at a random instant hub
// or nodes are killed with SIGKILL, or lose power. Whatever was told to a user
// then still holds, see afterCrash.
func TestCrash(t *testing.T) {
	requireLab(t)
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again with: -seed %d", seed)
	var table strings.Builder
	rows := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(rows, "KIND\tROUNDS\tCRASHES\tJOINER HAD\tasked\tbeen admitted\tbeen up\tcome too early\tOPEN INVITES TRIED\tREVOKED\tagain\tA ROUND TOOK")
	for i, kind := range []struct {
		name    string
		power   bool
		victims [][]string
	}{
		{"kill -9 of the hub", false, hubCrashes},
		{"kill -9 of nodes", false, nodeCrashes},
		{"power loss of the hub", true, hubCrashes},
		{"power loss of nodes", true, nodeCrashes},
	} {
		t.Run(kind.name, func(t *testing.T) {
			w := newWorld(t, kind.power, rand.New(rand.NewPCG(seed, uint64(i))))
			start := time.Now()
			for range *crashRounds {
				w.round(kind.victims)
			}
			took := time.Since(start) / time.Duration(*crashRounds)
			fmt.Fprintf(rows, "%s\t%d\t%d\t\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%v\n", kind.name, *crashRounds, w.crashes,
				w.reached["asked"], w.reached["admitted"], w.reached["up"], w.reached["too early"], w.reached["open"], len(w.revoked), w.reached["revoked again"], took.Round(time.Millisecond))
		})
	}
	rows.Flush()
	t.Log("\n" + table.String())
}

// atWork is what goes on when the crash comes. Each begins something, and has
// the ledger note what users are told.
var atWork = []func(w *world) error{
	(*world).beginJoin,
	(*world).beginInvites,
	(*world).beginRevoke,
}

// afterCrash is what then has to hold.
var afterCrash = []struct {
	name  string
	check func(w *world) error
}{
	{"an interrupted join goes on", (*world).finishJoin},
	{"who was thrown out is", (*world).finishRevoke},
	{"members are those who were admitted", (*world).checkMembers},
	{"a used invite lets nobody in", (*world).checkUsed},
	{"an open invite lets a machine in", (*world).checkOpen},
	{"a member of old connects", (*world).checkOldMember},
	{"who was thrown out stays out", (*world).checkRevoked},
}

// round is one crash: work, the crash in its midst, the restart, the checks.
func (w *world) round(choices [][]string) {
	w.t.Helper()
	w.rounds++
	w.clearLog()
	victims := choices[w.rand.IntN(len(choices))]
	when := w.rand.Float64()
	after := time.Duration(when * when * float64(longestWork)) // rather early: a join is short
	w.output("round", fmt.Sprintf("%d: %s after %v", w.rounds, strings.Join(victims, ", "), after))
	for _, begin := range atWork {
		if err := begin(w); err != nil {
			w.fail("before the crash: %v", err)
		}
	}
	w.pause(after)
	if err := w.crash(victims); err != nil {
		w.fail("restart: %v", err)
	}
	for _, c := range afterCrash {
		if err := c.check(w); err != nil {
			w.fail("%s: %v", c.name, err)
		}
	}
}
