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
	start    time.Time
	commit   string
	machine  []fact
	programs []program

	contenders []contender
	results    results

	relays       []relayContender // measured alone
	relayResults results

	micro    []micro
	idle     []fact // about a node that knows many others
	profiles []profile
	failures []string
}

func newReport(o *options, bins []program) *report {
	return &report{
		options: o, start: time.Now(), commit: commit(), machine: machine(), programs: bins,
		contenders: contenders(o, bins), results: make(results),
		relays: relayContenders(o, bins), relayResults: make(results),
	}
}

// write writes the report.
func (r *report) write() error {
	var b bytes.Buffer
	r.writeHead(&b)
	if len(r.contenders) > 0 {
		r.writeTunnels(&b)
	}
	if len(r.relays) > 0 {
		r.writeRelays(&b)
	}
	r.writeMicro(&b)
	r.writeIdle(&b)
	for _, f := range r.failures {
		fmt.Fprintf(&b, "Failed: %s\n\n", f)
	}
	r.writeGoals(&b)
	return os.WriteFile(r.out, append(bytes.TrimRight(b.Bytes(), "\n"), '\n'), 0o644)
}

const head = `# Benchmarks
Written by ` + "`sudo make bench`" + `, which repeats it; no figure here is by hand. Absolute figures are this machine's; compare within a table.

Two machines a and b (and a third, c) are network namespaces, joined by a router with plain veth pairs of 1500 bytes; super-packets (GSO) pass, nothing is emulated. Both ends, what is between them and the load share the processors. The hub's limit for what one member may send is off (--relay-rate 0). Relayed means through the hub's relay: over UDP or, where it says so, over TCP, TLS or a WebSocket at its HTTPS port. The contenders take turns, round after round, each in a new lab with new processes. Values are medians (lowest–highest of the rounds), **×** is the ratio of medians to the first column's.
`

func (r *report) writeHead(b *bytes.Buffer) {
	b.WriteString(head)
	b.WriteString("\n| | |\n|---|---|\n")
	facts := append([]fact{
		{"date", r.start.UTC().Format("2006-01-02 15:04 UTC")},
		{"commit", r.commit},
		{"p2ptun", strings.Join(descriptions(r.programs), "; ")},
		{"rounds", fmt.Sprintf("%d, with %g s of each load counted after %g s of warm-up; took %v", r.rounds, r.seconds, r.warmUp, time.Since(r.start).Round(time.Second))},
	}, r.machine...)
	for _, f := range facts {
		fmt.Fprintf(b, "| %s | %s |\n", f.name, f.value)
	}
	b.WriteByte('\n')
}

// descriptions say where the programs come from.
func descriptions(all []program) (texts []string) {
	for _, p := range all {
		if p.built {
			texts = append(texts, "built from this commit")
		} else {
			texts = append(texts, fmt.Sprintf("%s: a given binary", p.name))
		}
	}
	return texts
}

// row is a line of a table.
type row struct {
	title, quantity string
	digits          int
	alone           bool // a ratio says nothing
}

// relayProcess is the name of whatever is between two nodes.
const relayProcess = "relay"

// tunnelTables are those that compare ways from a to b.
var tunnelTables = []struct {
	title, note string
	rows        []row
}{
	{"Throughput, Gbit/s", "", []row{
		{"TCP, 1 stream, a→b", "tcp1", 2, false},
		{"TCP, 1 stream, b→a", "tcp1 back", 2, false},
		{"TCP, 8 streams, a→b", "tcp8", 2, false},
		{"TCP, 8 streams, b→a", "tcp8 back", 2, false},
		{"TCP, 1 stream each way at once", "tcp both", 2, false},
	}},
	{"CPU seconds per gigabyte delivered", "The processes' own and what the kernel does on their behalf; the load's is not in it.", []row{
		{"1 stream, all processes", "tcp1 cpu", 2, false},
		{"– a, which sends", "tcp1 cpu a", 2, false},
		{"– b, which receives", "tcp1 cpu b", 2, false},
		{"– the relay", "tcp1 cpu " + relayProcess, 2, false},
		{"1 stream b→a, all processes", "tcp1 back cpu", 2, false},
		{"8 streams, all processes", "tcp8 cpu", 2, false},
		{"– a, which sends", "tcp8 cpu a", 2, false},
		{"– b, which receives", "tcp8 cpu b", 2, false},
		{"– the relay", "tcp8 cpu " + relayProcess, 2, false},
		{"1 stream each way, all processes", "tcp both cpu", 2, false},
		{"processors kept busy, 1 stream", "tcp1 busy", 2, true},
		{"– besides, by the load itself", "tcp1 load busy", 2, true},
	}},
	{"UDP, thousand packets per second", "Packets of that size inside the tunnel, a→b, sent one by one as fast as they go; then the highest rate of which at most 1 % is lost, as a short search finds it.", []row{
		{"1,280 bytes, delivered of a flood", "udp1280", 0, false},
		{"– lost, %", "udp1280 loss", 1, true},
		{"– CPU µs per packet, all processes", "udp1280 cpu", 1, false},
		{"1,280 bytes, at most 1 % lost", "udp1280 clean", 0, false},
		{"64 bytes, delivered of a flood", "udp64", 0, false},
		{"– lost, %", "udp64 loss", 1, true},
		{"– CPU µs per packet, all processes", "udp64 cpu", 1, false},
		{"64 bytes, at most 1 % lost", "udp64 clean", 0, false},
	}},
	{"Resident memory, MB", "Idle: connected, before any load. Under load: the highest.", []row{
		{"a, idle", "rss idle a", 1, false},
		{"a, under TCP", "rss tcp a", 1, false},
		{"a, under UDP", "rss udp a", 1, false},
		{"a, after a rest", "rss rest a", 1, false},
		{"b, idle", "rss idle b", 1, false},
		{"b, under TCP", "rss tcp b", 1, false},
		{"b, under UDP", "rss udp b", 1, false},
		{"b, after a rest", "rss rest b", 1, false},
		{"the relay, idle", "rss idle " + relayProcess, 1, false},
		{"the relay, under TCP", "rss tcp " + relayProcess, 1, false},
	}},
	{"Round trip, ms", "Echo requests, one each 10 ms. Loaded: beside one TCP stream a→b. Those to c go together with 10 Mbit/s of UDP to c.", []row{
		{"a→b idle, p50", "ping p50", 2, false},
		{"a→b idle, p99", "ping p99", 2, false},
		{"a→b loaded, p50", "ping loaded p50", 2, false},
		{"a→b loaded, p99", "ping loaded p99", 2, false},
		{"– lost, %", "ping loaded lost", 1, true},
		{"a→c idle, p50", "fair p50", 2, false},
		{"a→c idle, p99", "fair p99", 2, false},
		{"a→c beside the stream to b, p50", "fair loaded p50", 2, false},
		{"a→c beside the stream to b, p99", "fair loaded p99", 2, false},
		{"– lost, %", "fair loaded lost", 1, true},
		{"– of the 10 Mbit/s lost, %", "fair loaded flow loss", 2, true},
	}},
}

func (r *report) writeTunnels(b *bytes.Buffer) {
	b.WriteString("## Between two machines\n\n")
	var names []string
	for _, c := range r.contenders {
		if c.skip != "" {
			fmt.Fprintf(b, "Not measured: %s (%s).\n\n", c.name, c.skip)
			continue
		}
		names = append(names, c.name)
	}
	for _, t := range tunnelTables {
		fmt.Fprintf(b, "### %s\n", t.title)
		if t.note != "" {
			fmt.Fprintf(b, "%s\n", t.note)
		}
		b.WriteByte('\n')
		writeTable(b, r.results, names, t.rows)
	}
}

func (r *report) writeRelays(b *bytes.Buffer) {
	fmt.Fprintf(b, "## Relays alone\nChannelData of %s bytes to and from one peer, as fast as it goes where no rate is given. The server has a processor of its own, the load and the sink another. Plain packets are sent one by one with sendmmsg; super-packets with UDP_SEGMENT, and received with UDP_GRO. "+
		"Where less than %.1f %% is lost the load was the limit: then CPU s/GB counts, not the rate.\n\n", "1,280", 100*generatorLimit)
	var names []string
	for _, c := range r.relays {
		if c.skip != "" {
			fmt.Fprintf(b, "Not measured: %s (%s).\n\n", c.name, c.skip)
			continue
		}
		names = append(names, c.name)
	}
	var rows []row
	for _, l := range relayLoads {
		rows = append(rows,
			row{l.title + ", CPU s/GB", l.quantity + " cpu", 2, false},
			row{"– thousand packets per second", l.quantity, 0, false},
			row{"– lost, %", l.quantity + " loss", 1, true})
	}
	writeTable(b, r.relayResults, names, append(rows, row{"resident memory after it all, MB", "rss", 1, false}))
}

func (r *report) writeMicro(b *bytes.Buffer) {
	if len(r.micro) == 0 {
		return
	}
	b.WriteString("## Micro-benchmarks\n\n| | ns/op | ns/packet | MB/s | B/op | allocs/op |\n|---|---|---|---|---|---|\n")
	for _, m := range r.micro {
		fmt.Fprintf(b, "| %s: %s | %s | %s | %s | %s | %s |\n", m.pkg, m.name,
			m.value("ns/op"), m.value("ns/packet"), m.value("MB/s"), m.value("B/op"), m.value("allocs/op"))
	}
	b.WriteByte('\n')
}

func (r *report) writeIdle(b *bytes.Buffer) {
	if len(r.idle) == 0 {
		return
	}
	b.WriteString("## A node that knows a thousand others, idle\n\n| | |\n|---|---|\n")
	for _, f := range r.idle {
		fmt.Fprintf(b, "| %s | %s |\n", strings.ReplaceAll(f.name, "_", " "), f.value)
	}
	b.WriteByte('\n')
}

// writeTable writes a row for each quantity that was measured and a column for
// each contender: the median, the ends, and the ratio to the first one's.
func writeTable(b *bytes.Buffer, of results, names []string, rows []row) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(b, "| | %s |\n|---|%s\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	for _, row := range rows {
		base := of.get(names[0], row.quantity)
		measured := false
		line := fmt.Sprintf("| %s |", row.title)
		for i, name := range names {
			s := of.get(name, row.quantity)
			measured = measured || s.count > 0
			line += " " + s.text(row.digits)
			if i > 0 && s.count > 0 && base.median > 0 && !row.alone {
				line += fmt.Sprintf(" **×%.2f**", s.median/base.median)
			}
			line += " |"
		}
		if measured {
			fmt.Fprintln(b, line)
		}
	}
	b.WriteByte('\n')
}
