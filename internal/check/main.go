// Command check runs every test of the module and says at the end what was
// skipped and why. It is what `make test` calls.
//
//	formatting, vet, staticcheck, builds for other systems
//	unit tests under the race detector
//	end-to-end tests and faults, alone: they measure time
//	each fuzz target for a while
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// alone is what is tested last, each by itself: it measures time.
var alone = []string{"github.com/p2ptun/p2ptun/internal/e2e", "github.com/p2ptun/p2ptun/internal/chaos", "github.com/p2ptun/p2ptun/internal/chaos/first", "github.com/p2ptun/p2ptun/internal/reach"}

func main() {
	fuzzTime := flag.Duration("fuzztime", 3*time.Second, "time for each fuzz target")
	fuzzOnly := flag.Bool("fuzz-only", false, "run the fuzz targets alone")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c := &checker{ctx: ctx}
	start := time.Now()
	if !*fuzzOnly {
		c.static()
		c.unit()
		for _, p := range alone {
			c.test(nil, p)
		}
	}
	c.fuzz(*fuzzTime)
	if !c.summary(time.Since(start)) {
		os.Exit(1)
	}
}

// checker runs steps one after the other and counts.
type checker struct {
	ctx context.Context

	mu      sync.Mutex // guards the rest, where steps run side by side
	passed  int
	failed  []string
	skipped []string
}

// command runs a program; a failure counts, and its output is shown.
func (c *checker) command(what string, env []string, name string, args ...string) (out string, ok bool) {
	cmd := exec.CommandContext(c.ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	start := time.Now()
	b, err := cmd.CombinedOutput()
	c.result(what, start, err)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		os.Stdout.Write(b)
	}
	return string(b), err == nil
}

func (c *checker) result(what string, start time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	took := time.Since(start).Round(100 * time.Millisecond)
	if err != nil {
		fmt.Printf("FAIL  %-50s %v\n", what, took)
		c.failed = append(c.failed, what)
		return
	}
	fmt.Printf("ok    %-50s %v\n", what, took)
	c.passed++
}

// static looks at the code without running it.
func (c *checker) static() {
	if out, ok := c.command("gofmt", nil, "gofmt", "-l", "."); ok && out != "" {
		c.passed--
		c.failed = append(c.failed, "gofmt: "+strings.Join(strings.Fields(out), " "))
	}
	c.command("go vet", nil, "go", "vet", "./...")
	c.command("staticcheck", nil, "go", "tool", "staticcheck", "./...")
	for _, system := range []string{"darwin", "freebsd"} {
		c.command("vet for "+system, []string{"GOOS=" + system, "CGO_ENABLED=0"}, "go", "vet", "./config", "./signaling/...", "./peer", "./tunnel", "./tun", "./cmd/...", "./internal/udpbatch")
	}
}

// unit runs the tests of all packages but those that are tested alone.
func (c *checker) unit() {
	out, ok := c.command("list packages", nil, "go", "list", "./...")
	if !ok {
		return
	}
	packages := slices.DeleteFunc(strings.Fields(out), func(p string) bool { return slices.Contains(alone, p) })
	c.test([]string{"-race", "-shuffle=on"}, packages...)
	// Under the detector these do a part of what they do without, or nothing.
	c.test([]string{"-p", "1", "-run", "^(TestFaults|TestSchedules|TestNoAllocations|TestUnderAttack)$"}, packages...)
}

// fuzz runs each fuzz target.
func (c *checker) fuzz(d time.Duration) {
	out, ok := c.command("list fuzz targets", nil, "go", "test", "-list", "^Fuzz", "./...")
	if !ok {
		return
	}
	// Two at a time, each on one processor: most of the time they are built.
	var two errgroup.Group
	two.SetLimit(2)
	for _, t := range fuzzTargets(out) {
		two.Go(func() error {
			if c.ctx.Err() == nil {
				c.command(fmt.Sprintf("%s for %v", t.name, d), nil, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-parallel", "1",
					"-fuzztime", d.String(), "-fuzzminimizetime", "1x", t.pkg)
			}
			return nil
		})
	}
	two.Wait()
}

type fuzzTarget struct{ pkg, name string }

// fuzzTargets reads what `go test -list` prints: names, then their package.
func fuzzTargets(list string) (targets []fuzzTarget) {
	var names []string
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 0 && strings.HasPrefix(fields[0], "Fuzz"):
			names = append(names, fields[0])
		case len(fields) > 1 && fields[0] == "ok":
			for _, n := range names {
				targets = append(targets, fuzzTarget{fields[1], n})
			}
			names = nil
		}
	}
	return targets
}

// summary tells what came out; false for a failure.
func (c *checker) summary(took time.Duration) bool {
	var b bytes.Buffer
	if err := c.ctx.Err(); err != nil {
		c.failed = append(c.failed, "interrupted")
	}
	for _, s := range c.skipped {
		fmt.Fprintln(&b, "skipped:", s)
	}
	for _, f := range c.failed {
		fmt.Fprintln(&b, "failed: ", f)
	}
	fmt.Fprintf(&b, "took %v\n%d passed, %d failed, %d skipped\n", took.Round(time.Second), c.passed, len(c.failed), len(c.skipped))
	fmt.Print("\n", b.String())
	return len(c.failed) == 0
}
