package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is a table and how it came about.
type report struct {
	*options
	cells []*cell
	took  time.Duration
	idle  float64 // share of the machine
	again int     // runs that were made again, alone
}

const tableHead = `## Fault table

Written by ` + "`sudo make chaos`" + `, which repeats it; no figure here is by hand. Seconds. The worst of the runs comes first, then all of them with the median in the middle.

Each run has a lab of its own: a hub and nodes a and b, each behind 20 ms of link delay (one way, each uplink). Both ends send a datagram each 20 ms, and one TCP connection carries 1 MB/s each way. The fault strikes a, its NAT, or the hub; where a only receives, it is b alone that sends, by no TCP. **a→b** and **b→a** are the longest silence in that direction beyond the 20 ms; where no path is possible while the fault lasts, it counts from the fault's end. **TCP** says whether the connection went on, and for how long at most nothing came out of it, the fault included. **best path** is how long after the fault's end both nodes say that they have it again and no silence above 0.2 s follows. **hub** is how long after it both are connected to the hub.

Goals: what strikes neither the path nor the machines (a hub or relay that a direct pair does not need) at most 0.06 s; direct and LAN pairs at most 1 s of silence for all that leaves a path; pairs whose relay has died at most 1 s over another, or 2 s after its return; relayed pairs at most 2 s elsewhere; the best path after 3 s; every TCP connection lives. The second goal of a direct or LAN pair is the stretch goal, 3 round trips of the path and 0.2 s. What misses its goal is marked **✗**.

`

// write prints the table, and puts it into the file if there is one.
func (r *report) write() error {
	var b bytes.Buffer
	b.WriteString(tableHead)
	r.writeMachine(&b)
	b.WriteString("| fault | pair | a→b | b→a | goal | TCP | best path | hub |\n|---|---|---|---|---|---|---|---|\n")
	for _, c := range r.cells {
		c.write(&b)
	}
	fmt.Print("\n", b.String())
	if r.out == "" {
		return nil
	}
	return replaceSection(r.out, b.String())
}

func (r *report) writeMachine(b *bytes.Buffer) {
	fmt.Fprintf(b, "%s, %d processors, %s: %d runs of each row, %d labs side by side, took %v; %.0f %% of the machine was idle; %d runs that had missed a goal with less than %.0f %% idle, or one of %s s, were made again, alone.\n\n",
		r.stamp, runtime.NumCPU(), runtime.Version(), r.runs, r.parallel, r.took.Round(time.Second), 100*r.idle, r.again, 100*crowded, short(unnoticed))
}

func (c *cell) write(b *bytes.Buffer) {
	goal := c.fault.goal(c.pair)
	fmt.Fprintf(b, "| %s | %s |", c.fault.name, c.pair.title)
	if err := c.failed(); err != nil {
		fmt.Fprintf(b, " **✗** not measured: %s | | | | | |\n", strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	for way := range 2 {
		if c.fault.receives && way == 0 {
			b.WriteString(" – |")
			continue
		}
		fmt.Fprintf(b, " %s |", spread(c.each(func(o outcome) time.Duration { return o.silence[way] }), goal))
	}
	fmt.Fprintf(b, " %s | %s | %s |", c.goals(), c.tcp(), c.back())
	if c.fault.hub || strings.Contains(c.fault.name, "hub") {
		fmt.Fprintf(b, " %s", short(slices.Max(c.each(func(o outcome) time.Duration { return o.hub }))))
	}
	b.WriteString(" |\n")
}

// goals is the goal, and the stretch goal where there is one.
func (c *cell) goals() string {
	goal := c.fault.goal(c.pair)
	if goal != changeGoal || c.pair.kind == relayed {
		return short(goal)
	}
	return short(goal) + ", " + short(3*c.pair.rtt+200*time.Millisecond)
}

// failed is why a run has no figures; nil if all have.
func (c *cell) failed() error {
	var errs []error
	for _, o := range c.runs {
		errs = append(errs, o.err)
	}
	return errors.Join(errs...)
}

func (c *cell) each(of func(outcome) time.Duration) (all []time.Duration) {
	for _, o := range c.runs {
		all = append(all, of(o))
	}
	return all
}

// tcp says how the connections fared.
func (c *cell) tcp() string {
	if c.fault.receives {
		return "–"
	}
	worst := slices.Max(c.each(func(o outcome) time.Duration { return o.stall }))
	if n := c.count(func(o outcome) bool { return o.dead }); n > 0 {
		return fmt.Sprintf("**✗** %d of %d died", n, len(c.runs))
	}
	return "lives, " + short(worst)
}

// back says when the best path was back.
func (c *cell) back() string {
	if n := c.count(func(o outcome) bool { return o.lost }); n > 0 {
		return fmt.Sprintf("**✗** %d of %d never", n, len(c.runs))
	}
	worst := slices.Max(c.each(func(o outcome) time.Duration { return o.back }))
	return mark(worst > bestPathGoal) + short(worst)
}

func (c *cell) count(of func(outcome) bool) (n int) {
	for _, o := range c.runs {
		if of(o) {
			n++
		}
	}
	return n
}

// misses says whether a run misses a goal.
func (c *cell) misses() bool {
	return slices.ContainsFunc(c.runs, func(o outcome) bool { return o.misses(c.fault.goal(c.pair)) })
}

func (r *report) missed() (n int) {
	for _, c := range r.cells {
		if c.misses() {
			n++
		}
	}
	return n
}

// spread is the worst of some times, and all of them.
func spread(all []time.Duration, goal time.Duration) string {
	all = slices.SortedFunc(slices.Values(all), cmp.Compare)
	text := mark(all[len(all)-1] > goal) + "**" + short(all[len(all)-1]) + "**"
	if len(all) > 1 {
		text += " ("
		for i, d := range all {
			text += strings.Repeat(" ", min(i, 1)) + short(d)
		}
		text += ")"
	}
	return text
}

func mark(missed bool) string {
	if missed {
		return "✗ "
	}
	return ""
}

// short is a time in seconds.
func short(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }

// replaceSection puts a section, which begins with its heading, into a document
// in the place of the one with the same heading, or at the end.
func replaceSection(path, section string) error {
	old, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		old, err = []byte("# Reliability\n"), nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(withSection(string(old), section)), 0o644)
}

func withSection(doc, section string) string {
	heading, _, _ := strings.Cut(section, "\n")
	section = strings.TrimSpace(section) + "\n"
	before, rest, found := strings.Cut(doc, heading+"\n")
	if !found {
		return strings.TrimRight(doc, "\n") + "\n\n" + section
	}
	if _, after, more := strings.Cut(rest, "\n## "); more {
		return before + section + "\n## " + after
	}
	return before + section
}
