package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/peer"
)

const head = `# Who reaches whom

Written by ` + "`sudo make reach`" + `, which repeats it; no figure here is by hand. Every two places that a machine may stand in, in both orders: the row's machine makes the network, the column's joins it. Each pair has a lab of its own with the real program, without delay on the links, and a hub with IPv4 and IPv6 on port 443. Public machines have IPv4 alone, which leaves those with IPv6 alone to the relay. Times are seconds from the second machine's ` + "`up`" + `, which joins first.

`

// report prints the tables, and puts them into the file if there is one. Its error
// tells of what misses.
func report(o *options, pairs []*pair, took time.Duration) error {
	var b bytes.Buffer
	b.WriteString(head)
	fmt.Fprintf(&b, "%s, %d processors, %s: %d pairs, %d labs side by side, took %v.\n\n",
		o.stamp, runtime.NumCPU(), runtime.Version(), len(pairs), o.parallel, took.Round(time.Second))
	b.WriteString("## Path\n\nWhat carries packets in the end. **✗** marks a pair that does not connect, or is relayed though it could be direct.\n\n")
	table(&b, pairs, (*pair).pathCell)
	b.WriteString("\n## First ping\n\nFrom the row's machine, answered.\n\n")
	table(&b, pairs, func(p *pair) string { return seconds(p.first) })
	b.WriteString("\n## Direct\n\nUntil both machines have a direct path.\n\n")
	table(&b, pairs, func(p *pair) string { return seconds(p.direct) })
	missed := misses(&b, pairs)
	fmt.Print("\n", b.String())
	if o.out != "" {
		if err := os.WriteFile(o.out, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d pairs lack what they can have", missed, len(pairs))
	}
	return nil
}

// table writes one with a cell for each pair; those that were not measured stay
// empty.
func table(b *bytes.Buffer, pairs []*pair, cell func(*pair) string) {
	cells := make(map[[2]string]string)
	for _, p := range pairs {
		text := "**✗**"
		if p.err == nil {
			text = cell(p)
		}
		cells[[2]string{p.a.kind, p.b.kind}] = text
	}
	b.WriteString("| |")
	for _, p := range places {
		fmt.Fprintf(b, " %s |", p.short)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(places)) + "\n")
	for _, row := range places {
		fmt.Fprintf(b, "| %s |", row.title)
		for _, column := range places {
			fmt.Fprintf(b, " %s |", cells[[2]string{row.kind, column.kind}])
		}
		b.WriteString("\n")
	}
}

func (p *pair) pathCell() string {
	switch {
	case p.misses():
		return "**✗** " + string(p.path)
	case p.path == peer.PathDirect:
		return "**direct**"
	}
	return string(p.path)
}

// misses lists the pairs that lack something, and counts them.
func misses(b *bytes.Buffer, pairs []*pair) (n int) {
	for _, p := range pairs {
		if !p.misses() {
			continue
		}
		if n++; n == 1 {
			b.WriteString("\n## Missed\n\n")
		}
		fmt.Fprintf(b, "- %s\n", strings.Join(strings.Fields(p.String()), " "))
	}
	return n
}

// seconds is a time in the tables; "–" for none.
func seconds(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", d.Seconds())
}
