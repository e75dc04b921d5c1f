package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// report is what a run found.
type report struct {
	*options
	start      time.Time
	contenders []contender
	results    results

	relays       []relayContender // measured alone
	relayResults results
}

// row is a line of a table.
type row struct {
	title, quantity string
	digits          int
}

var tcpRows = []row{
	{"TCP, 1 stream, a→b, Gbit/s", "tcp1", 2},
	{"TCP, 1 stream, b→a", "tcp1 back", 2},
	{"TCP, 8 streams, a→b", "tcp8", 2},
	{"TCP, 8 streams, b→a", "tcp8 back", 2},
	{"TCP, 1 stream each way at once", "tcp both", 2},
	{"CPU s/GB, 1 stream, all processes", "tcp1 cpu", 2},
	{"– of a, which sends", "tcp1 cpu a", 2},
	{"– of b, which receives", "tcp1 cpu b", 2},
	{"– of the hub", "tcp1 cpu hub", 2},
	{"CPU s/GB, 8 streams, all processes", "tcp8 cpu", 2},
}

func (r *report) write() error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Benchmarks\n\n")
	r.table(&b, tcpRows)
	return os.WriteFile(r.out, b.Bytes(), 0o644)
}

// table writes a row for each quantity and a column for each contender: the
// median, the ends, and the ratio to the baseline's.
func (r *report) table(b *bytes.Buffer, rows []row) {
	b.WriteString("| |")
	for _, c := range r.contenders {
		fmt.Fprintf(b, " %s |", c.name)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---|", len(r.contenders)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |", row.title)
		base := r.results.get(baseline, row.quantity)
		for _, c := range r.contenders {
			s := r.results.get(c.name, row.quantity)
			fmt.Fprintf(b, " %s%s |", s.text(row.digits), ratio(c.name, s, base))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
}

// ratio is how a value compares with the baseline's, if there are both.
func ratio(name string, s, base spread) string {
	if name == baseline || s.count == 0 || base.count == 0 || base.median == 0 {
		return ""
	}
	return fmt.Sprintf(" **×%.2f**", s.median/base.median)
}
