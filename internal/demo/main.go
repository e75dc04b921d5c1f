// Command demo shows what p2ptun does: a hub and three nodes behind NATs in a
// lab, driven by the real commands, told as it happens.
//
// It owns the story and how it is told; the lab is natlab's, the processes are
// e2e's. Whatever happens, it leaves nothing behind. It exits with 0 only if
// all that it set out to show was seen.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/internal/natlab"
)

// limit is how long the demo may take after the build.
const limit = time.Minute

var errLimit = fmt.Errorf("not through after %v", limit)

func main() {
	if err := possible(); err != nil {
		fmt.Fprintf(os.Stderr, "demo: error: this machine cannot run it: %v\n", err)
		os.Exit(1)
	}
	// Whoever closes the terminal, or the pipe that this is printed to, wants
	// it cleaned up as well. A second signal does not cut the cleaning short.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	start := time.Now()
	err := demo(ctx, &start)
	fmt.Printf("\ndemo: %s, after %.1f s\n", verdict(err, ctx.Err() != nil), time.Since(start).Seconds())
	stop()
	if err != nil {
		os.Exit(1)
	}
}

// verdict is how it ended, in one line.
func verdict(err error, interrupted bool) string {
	var left *leftError
	switch {
	case err == nil:
		return "all of it worked, nothing is left behind"
	case interrupted && !errors.As(err, &left):
		return "interrupted, nothing is left behind"
	}
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' })
	return "FAILED: " + strings.Join(lines, "; ")
}

// leftError is a failure to clean up.
type leftError struct{ err error }

func (e *leftError) Error() string { return "left behind: " + e.err.Error() }
func (e *leftError) Unwrap() error { return e.err }

// cleaned adds to err what went wrong when cleaning up.
func cleaned(err, cleanup error) error {
	if cleanup == nil {
		return err
	}
	return errors.Join(err, &leftError{cleanup})
}

// possible makes labs possible, in a user namespace if need be, or says what
// stands in the way and what to do.
func possible() error {
	if err := natlab.Enter(); err != nil {
		return err
	}
	return natlab.TUNAvailable()
}

// demo builds p2ptun, tells the story and takes everything away again. The
// clock is set anew when the build is done.
func demo(ctx context.Context, start *time.Time) (err error) {
	dir, err := os.MkdirTemp("", "p2ptun-demo-")
	if err != nil {
		return err
	}
	defer func() { err = cleaned(err, os.RemoveAll(dir)) }()
	bin, err := e2e.Build(dir, "-buildvcs=false") // no need of git, nor of its opinion on who owns the checkout
	if err != nil {
		return err
	}
	fmt.Printf("built p2ptun in %.1f s\n\n", time.Since(*start).Seconds())
	*start = time.Now()

	ctx, cancel := context.WithTimeoutCause(ctx, limit, errLimit)
	defer cancel()
	lab, err := natlab.New()
	if err != nil {
		return err
	}
	defer func() { err = cleaned(err, lab.Close()) }()
	err = tell(ctx, lab, &e2e.Rig{Lab: lab, Bin: bin, Dir: dir, LogLevel: "debug"}, *start)
	if errors.Is(context.Cause(ctx), errLimit) {
		err = fmt.Errorf("%w: %w", errLimit, err)
	}
	return err
}

// tell runs the story with a timeline to tell it on. All its goroutines have
// ended when it returns.
func tell(ctx context.Context, lab *natlab.Lab, rig *e2e.Rig, start time.Time) error {
	var goroutines sync.WaitGroup
	defer goroutines.Wait()
	told, end := context.WithCancel(context.Background())
	defer end()
	s := newStory(rig, newTimeline(os.Stdout, start))
	goroutines.Go(func() { s.out.run(told) })
	hosts, err := build(lab)
	if err != nil {
		return err
	}
	fmt.Print(hosts.picture())
	return s.play(ctx, hosts)
}
