// Command bench measures p2ptun beside bare wireguard-go, and the hub's relay
// beside other TURN servers, in a lab of network namespaces on this machine,
// and writes what it found to BENCHMARKS.md. It is what `make bench` calls.
//
//	a ══veth══ core ══veth══ b        plain kernel links, 1500 bytes, GSO passes
//	             ║ ║ ║
//	           hub c relay
//
// The contenders take turns, each in a new lab with new processes, round after
// round. This process is the load's both ends; its own CPU time is not counted
// as theirs. It owns the lab, the loads and the tables; no figure is written
// by hand.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// options are what was asked for.
type options struct {
	rounds  int
	seconds float64 // of each load, after the warm-up
	warmUp  float64
	rest    float64 // after the last round's loads
	profile int     // seconds of each CPU profile
	only    list
	bins    list // NAME=PATH or PATH
	out     string
}

// list is a flag that takes several values, apart by commas or given again.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }
func (l *list) Set(s string) error {
	*l = append(*l, strings.Split(s, ",")...)
	return nil
}

func parse() *options {
	o := new(options)
	flag.IntVar(&o.rounds, "rounds", 5, "rounds, in each of which every contender takes its turn")
	flag.Float64Var(&o.seconds, "seconds", 2, "how many seconds of each load are counted")
	flag.Float64Var(&o.warmUp, "warm-up", 1, "how many seconds each load runs before it is counted")
	flag.Float64Var(&o.rest, "rest", 60, "how many seconds after all loads of the last round memory is looked at again; 0: never")
	flag.IntVar(&o.profile, "profile", 3, "how many seconds a CPU profile lasts, in the last round")
	flag.Var(&o.only, "only", "the `LIST` of contenders, relays (\"relay coturn\"), \"micro-benchmarks\" and \"idle\", or parts of such names (default: all)")
	flag.Var(&o.bins, "bin", "p2ptun `NAME=PATH` to measure, several beside each other (default: built from here)")
	flag.StringVar(&o.out, "out", "BENCHMARKS.md", "`FILE` to write")
	flag.Parse()
	return o
}

func main() {
	if role(os.Args) {
		return
	}
	o := parse()
	if err := possible(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: error: this machine cannot run it: %v\n", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: error: %v\n", err)
		os.Exit(1)
	}
}

// possible makes labs possible, in a user namespace if need be.
func possible() error {
	if err := natlab.Enter(); err != nil {
		return err
	}
	return natlab.TUNAvailable()
}
