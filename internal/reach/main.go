// Command reach connects machines in every two places of an internet that a machine
// may stand in, with the real program in a lab of network namespaces, and writes down
// what carries their packets and how soon: docs/reach.md. It is what `make reach`
// calls.
//
//	a ── its place ──┬── core ──┬── its place ── b
//	                            │
//	                      hub, IPv4 and IPv6, port 443
//
// Each ordered pair has a lab of its own, and several run side by side. It owns the
// labs and the tables; no figure is written by hand.
package main

import (
	"context"
	"errors"
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
	parallel int
	pair     *regexp.Regexp
	out      string
	connect  time.Duration
	patience time.Duration

	bin   string // the program that is measured
	stamp string // when it began, and with which commit
}

func parse() (*options, error) {
	o := new(options)
	flag.IntVar(&o.parallel, "parallel", 4, "how many labs run side by side")
	pair := flag.String("pair", "", "the pairs that match this `REGEXP`, as \"port, ipv6\" (default: all)")
	flag.StringVar(&o.out, "out", "", "`FILE` that is written (default: docs/reach.md for all pairs, none for some)")
	flag.DurationVar(&o.connect, "connect", 15*time.Second, "how long after the second up a pair may take to connect")
	flag.DurationVar(&o.patience, "patience", 5*time.Second, "how long after the first ping a direct path is waited for")
	flag.StringVar(&o.bin, "bin", "", "p2ptun `PATH` to measure (default: built from here)")
	flag.Parse()
	if o.out == "" && *pair == "" {
		o.out = "docs/reach.md"
	}
	var err error
	o.pair, err = regexp.Compile(*pair)
	return o, err
}

func main() {
	o, err := parse()
	if err == nil {
		err = possible()
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "reach: error: %v\n", err)
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

// run measures what was asked for and writes it down. Its error tells of pairs that
// do not have what they can have.
func run(ctx context.Context, o *options) (err error) {
	o.stamp = e2e.Provenance()
	dir, err := os.MkdirTemp("", "p2ptun-reach-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.bin == "" {
		if o.bin, err = e2e.Build(dir, "-buildvcs=false"); err != nil {
			return err
		}
	}
	began := time.Now()
	pairs := asked(o)
	measureAll(ctx, o, pairs, func(p *pair) { fmt.Println(p) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return report(o, pairs, time.Since(began))
}
