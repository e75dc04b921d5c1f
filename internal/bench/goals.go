package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// What p2ptun shall be. Ratios are of medians.
const (
	goalDirect      = 1.20 // × wireguard-go's throughput
	goalDirectCPU   = 0.85 // × its CPU time per gigabyte
	goalRelayed     = 0.6  // × the direct throughput
	goalRelayedCPU  = 6    // CPU s/GB, all processes
	goalOnAll       = 0.95 // × the throughput on all processors from the start, within the spread
	goalMemory      = 80   // MB under TCP
	goalHubByCoturn = 0.80 // × its CPU time per gigabyte
	goalHubByPion   = 0.65 // × its CPU time per gigabyte
	goalIdle        = 40   // MB, of a node that knows a thousand idle others
)

// goal is something to reach, and what was reached.
type goal struct {
	what      string
	want, got float64
	atMost    bool
	contender string // whose profile says why not
}

func (g goal) met() bool { return g.atMost == (g.got <= g.want) || g.got == g.want }

// goals are those that were measured.
func (r *report) goals() (all []goal) {
	value := func(of results, contender, quantity string) float64 { return of.get(contender, quantity).median }
	add := func(g goal, measured ...float64) {
		for _, m := range measured {
			if m == 0 {
				return
			}
		}
		all = append(all, g)
	}
	for _, b := range r.programs {
		direct, relayed, hub := b.name+" direct", b.name+" relayed", b.name+" hub"
		base, speed := value(r.results, baseline, "tcp1"), value(r.results, direct, "tcp1")
		add(goal{direct + ": throughput, of wireguard-go's", goalDirect, speed / base, false, direct}, base, speed)
		baseCPU, cpu := value(r.results, baseline, "tcp1 cpu"), value(r.results, direct, "tcp1 cpu")
		add(goal{direct + ": CPU s/GB, of wireguard-go's", goalDirectCPU, cpu / baseCPU, true, direct}, baseCPU, cpu)
		onAll := b.name + allProcessors
		for _, load := range []struct{ quantity, title string }{{"tcp1", "1 TCP stream"}, {"tcp8", "8 TCP streams"}} {
			own, all := value(r.results, direct, load.quantity), value(r.results, onAll, load.quantity)
			add(goal{direct + ": throughput of " + load.title + ", of that on all processors", goalOnAll, own / all, false, direct}, own, all)
		}
		for _, p := range []string{"a", "b"} {
			memory := value(r.results, direct, "rss tcp "+p)
			add(goal{fmt.Sprintf("%s: MB under TCP, node %s", direct, p), goalMemory, memory, true, ""}, memory)
		}
		far := value(r.results, relayed, "tcp1")
		add(goal{relayed + ": throughput, of direct", goalRelayed, far / speed, false, relayed}, speed, far)
		farCPU := value(r.results, relayed, "tcp1 cpu")
		add(goal{relayed + ": CPU s/GB, all processes", goalRelayedCPU, farCPU, true, relayed}, farCPU)
		for _, other := range []struct {
			name string
			want float64
		}{{"coturn", goalHubByCoturn}, {"pion", goalHubByPion}} {
			for _, l := range relayLoads {
				own, its := value(r.relayResults, hub, l.quantity+" cpu"), value(r.relayResults, other.name, l.quantity+" cpu")
				add(goal{fmt.Sprintf("%s: CPU s/GB, of %s's, %s", hub, other.name, l.title), other.want, own / its, true, hub}, own, its)
			}
		}
	}
	for _, f := range r.idle {
		if memory, err := strconv.ParseFloat(f.value, 64); err == nil && f.name == "rss_mb" {
			add(goal{"a thousand known, idle: MB", goalIdle, memory, true, ""})
		}
	}
	return all
}

// writeGoals writes what was reached, and of what was not, where the time
// goes.
func (r *report) writeGoals(b *bytes.Buffer) {
	goals := r.goals()
	if len(goals) == 0 {
		return
	}
	b.WriteString("## Goals\n\n| goal | want | got | |\n|---|---|---|---|\n")
	missed := make(map[string]bool)
	for _, g := range goals {
		sign, verdict := "≥", "met"
		if g.atMost {
			sign = "≤"
		}
		if !g.met() {
			verdict = "**missed**"
			missed[g.contender] = true
		}
		fmt.Fprintf(b, "| %s | %s %.2f | %.2f | %s |\n", g.what, sign, g.want, g.got, verdict)
	}
	b.WriteString("\n")
	for _, p := range r.profiles {
		if missed[p.contender] {
			fmt.Fprintf(b, "What falls short, %s, profile of %s under load, %d s:\n\n```\n%s\n```\n\n", p.contender, p.process, r.profile, p.text)
		}
	}
}
