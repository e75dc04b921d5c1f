// Command chaos breaks the ways between machines in a lab of network namespaces,
// one fault after the other, and measures how long the tunnel was silent. It
// writes the fault table of docs/reliability.md. It is what `make chaos` calls.
//
//	a ── home NAT ──20 ms── core ──20 ms── home NAT ── b
//	                         │ 20 ms
//	                        hub
//
// Each run has a lab of its own, and several run side by side. In it both
// machines send 50 datagrams a second through the tunnel, and one TCP connection
// carries 1 MB/s each way; the fault strikes a, its NAT or the hub. It owns the
// labs, the loads and the table; no figure is written by hand.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/internal/natlab"
)

// options are what was asked for.
type options struct {
	runs     int
	parallel int
	row      *regexp.Regexp
	pair     *regexp.Regexp
	out      string
	logs     string
	patience time.Duration
	longest  time.Duration // that a fault lasts
	soak     time.Duration // 0: the table
	seed     uint64        // of the soak
	first    bool          // the first pings, in place of the table
	stamp    string        // when it began, and with which commit

	bin     string // the program that is measured
	stepped string // the same with a clock that can be stepped; "" if no row needs it
}

func parse() (*options, error) {
	o := &options{longest: time.Minute}
	flag.IntVar(&o.runs, "runs", 3, "how often each fault strikes each pair")
	flag.IntVar(&o.parallel, "parallel", 4, "how many labs run side by side")
	row := flag.String("row", "", "the faults whose names match this `REGEXP` (default: all)")
	pair := flag.String("pair", "", "the pairs whose names match this `REGEXP` (default: all)")
	flag.StringVar(&o.out, "out", "", "`FILE` whose fault table is replaced (default: docs/reliability.md for a whole table, none for a part of it)")
	flag.StringVar(&o.logs, "logs", "", "`DIR` for the logs of runs that miss a goal (default: none are kept)")
	flag.DurationVar(&o.patience, "patience", 20*time.Second, "how long after a fault's end the best path is waited for")
	flag.DurationVar(&o.soak, "soak", 0, "eight nodes under a random fault each 10 s for so long, in place of the table")
	flag.Uint64Var(&o.seed, "seed", 0, "of the soak's faults; 0 draws one")
	flag.BoolVar(&o.first, "first", false, "how long the first ping takes, in place of the table")
	flag.StringVar(&o.bin, "bin", "", "p2ptun `PATH` to measure (default: built from here)")
	flag.Parse()
	if o.out == "" && *row == "" && *pair == "" {
		o.out = "docs/reliability.md"
	}
	var err error
	if o.row, err = regexp.Compile(*row); err == nil {
		o.pair, err = regexp.Compile(*pair)
	}
	return o, err
}

func main() {
	o, err := parse()
	if err == nil {
		err = possible()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "chaos: error: %v\n", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	work := table
	switch {
	case o.soak > 0:
		work = runSoak
	case o.first:
		work = runFirst
	}
	o.stamp = e2e.Provenance()
	if err := work(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "chaos: error: %v\n", err)
		os.Exit(1)
	}
}

// possible makes labs possible, in a user namespace if need be.
func possible() error {
	if err := natlab.Enter(); err != nil {
		return fmt.Errorf("this machine cannot run it: %w", err)
	}
	return natlab.TUNAvailable()
}
