package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/internal/chaos/first"
)

const firstHead = `## First ping

Written by ` + "`sudo make first`" + `, which repeats it. From the start of the process, or from the packet that wakes an idle peer, to the first ping answered. Goals: a join four round trips to the hub, four of the path and 150 ms; all else three of the path and 150 ms. What misses its goal is bold: a join takes five round trips to the hub (TCP, TLS, the hello; the request and the answer, which the keeper gives behind the hub), and where the path takes none they are all there is.

`

// runFirst measures the first pings and writes them down. Its error tells of
// what missed a goal.
func runFirst(ctx context.Context, o *options) (err error) {
	dir, err := os.MkdirTemp("", "p2ptun-chaos-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bins, err := first.Build(dir)
	if err != nil {
		return err
	}
	busy := readLoad()
	var rows []first.Row
	for _, delay := range first.Delays {
		for _, name := range first.Cases {
			some, err := firstOf(ctx, first.Options{Dir: dir, Cases: []string{name}, Forget: true}, bins, delay)
			if err != nil {
				return err
			}
			rows = append(rows, some...)
			fmt.Printf("%s at %v\n", name, delay)
		}
	}
	text := firstHead + fmt.Sprintf("%s; %.0f %% of the machine was idle.\n\n", o.stamp, 100*busy.idleSince()) + first.Table(rows)
	fmt.Print("\n", text)
	if o.out != "" {
		err = replaceSection(o.out, text)
	}
	if missed := strings.Count(text, "**") / 2; missed > 0 {
		err = errors.Join(err, fmt.Errorf("%d first pings miss their goal", missed))
	}
	return err
}

// firstOf measures one case for all pairs: side by side where most of the time is
// waits, one after the other where it is the processors'.
func firstOf(ctx context.Context, o first.Options, bins first.Binaries, delay time.Duration) ([]first.Row, error) {
	all, errs := make([][]first.Row, len(first.Pairs)), make([]error, len(first.Pairs))
	var running sync.WaitGroup
	for i, p := range first.Pairs {
		running.Go(func() { all[i], errs[i] = first.Measure(ctx, o, bins, p, delay) })
		if delay == 0 || o.Cases[0] == first.Join {
			running.Wait()
		}
	}
	running.Wait()
	var rows []first.Row
	for _, some := range all {
		rows = append(rows, some...)
	}
	return rows, errors.Join(errs...)
}
