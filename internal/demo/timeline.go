package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// hold is how long a line waits for older ones: what is read from log files
// comes late, with its own time. Well above readEvery.
const hold = 150 * time.Millisecond

// timeline prints what happened, in the order in which it happened. Safe for
// concurrent use; run owns the lines.
type timeline struct {
	w     io.Writer
	start time.Time
	lines chan line
	ended chan struct{}
}

// A line is told by someone: a machine, or the demo itself ("").
type line struct {
	at         time.Time
	from, text string
}

func newTimeline(w io.Writer, start time.Time) *timeline {
	return &timeline{w, start, make(chan line), make(chan struct{})}
}

// add tells what happened at a time. After run has ended it does nothing.
func (t *timeline) add(at time.Time, from, text string) {
	select {
	case t.lines <- line{at, from, shorten(text)}:
	case <-t.ended:
	}
}

// say tells what happens now.
func (t *timeline) say(from, format string, args ...any) {
	t.add(time.Now(), from, fmt.Sprintf(format, args...))
}

// run prints until ctx ends, and then the rest.
func (t *timeline) run(ctx context.Context) {
	defer close(t.ended)
	tick := time.NewTicker(hold / 3)
	defer tick.Stop()
	var waiting []line
	for {
		select {
		case l := <-t.lines:
			waiting = append(waiting, l)
		case now := <-tick.C:
			waiting = t.print(waiting, now.Add(-hold))
		case <-ctx.Done():
			t.print(waiting, time.Now().Add(hold))
			return
		}
	}
}

// print prints the lines up to a time, in order, and returns the others.
func (t *timeline) print(lines []line, until time.Time) (later []line) {
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	for i, l := range lines {
		if l.at.After(until) {
			return lines[i:]
		}
		fmt.Fprint(t.w, l.format(t.start))
	}
	return nil
}

// format is the line as it is printed; a command has an empty line before it,
// what goes on for several lines begins where the first one does:
//
//	+0.412s  node2  joining network …
func (l line) format(start time.Time) string {
	var b strings.Builder
	if strings.HasSuffix(l.from, "$") {
		b.WriteByte('\n')
	}
	first := fmt.Sprintf("%8s  %-6s ", fmt.Sprintf("+%.3fs", l.at.Sub(start).Seconds()), l.from)
	for i, text := range strings.Split(strings.TrimRight(l.text, "\n"), "\n") {
		if i > 0 {
			first = strings.Repeat(" ", len(first))
		}
		b.WriteString(strings.TrimRight(first+text, " ") + "\n")
	}
	return b.String()
}
