package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

func printPeer(w io.Writer, p tunnel.PeerStatus, now time.Time) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(t, "%s:\t%s\n", name, value) }
	row("node", p.Name)
	row("id", p.ID)
	row("addresses", joinAddrs(p.Addresses))
	row("state", stateText(p))
	if p.Why != "" {
		row("why", p.Why)
	}
	row("ice", orDash(p.ICE))
	row("path", string(p.Path))
	if p.Remote.Address != "" {
		row("local", fmt.Sprintf("%s (%s)", p.Local.Address, p.Local.Type))
		row("remote", fmt.Sprintf("%s (%s)", p.Remote.Address, p.Remote.Type))
	}
	row("rtt", rttText(p.RTT))
	row("mtu", fmt.Sprint(p.MTU))
	row("received", byteText(p.RxBytes))
	row("sent", byteText(p.TxBytes))
	row("handshake", ageText(p.LastHandshake, now))
	row("post-quantum key", presharedText(p, now))
	t.Flush()
	printPairs(w, p.Pairs, now)
	printEvents(w, p.Events, now)
}

// presharedText says whether the tunnel has a key of a post-quantum exchange.
func presharedText(p tunnel.PeerStatus, now time.Time) string {
	if !p.PresharedKey {
		return "not yet"
	}
	return "yes, since " + ageText(p.PresharedSince, now)
}

// shownPairs is how many pairs are told one by one; shownTrying, of those that
// have not answered yet.
const (
	shownPairs  = 12
	shownTrying = 5
)

// printPairs tells the candidate pairs, best first, one in a line of less than 100
// columns; those that say little are counted.
func printPairs(w io.Writer, pairs []tunnel.PairStatus, now time.Time) {
	if len(pairs) == 0 {
		return
	}
	fmt.Fprintln(w, "\npairs (* carries the data, + is nominated, ? data waits there for an answer):")
	fmt.Fprintf(w, "%-3s %-11s %9s %5s %8s  %s\n", "", "STATE", "RTT", "LOSS", "ANSWERED", "FROM → TO")
	rest := make(map[peer.PairState]int)
	shown, trying := 0, 0
	for _, p := range pairs {
		switch {
		case p.Chosen, p.Nominated, p.State == peer.PairSucceeded && shown < shownPairs:
		case p.State == peer.PairInProgress && trying < shownTrying && shown < shownPairs:
			trying++
		default:
			rest[p.State]++
			continue
		}
		shown++
		printPair(w, p, now)
	}
	var texts []string
	for _, state := range []peer.PairState{peer.PairSucceeded, peer.PairInProgress, peer.PairWaiting, peer.PairFailed} {
		if n := rest[state]; n > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(texts) > 0 {
		fmt.Fprintf(w, "    and of others: %s\n", strings.Join(texts, ", "))
	}
}

// waysWidth is what a line has for the addresses of a pair: two of IPv4.
const waysWidth = 59

func printPair(w io.Writer, p tunnel.PairStatus, now time.Time) {
	head := fmt.Sprintf("%-3s %-11s %9s %5s %8s  ", marks(p), p.State, rttText(p.RTT), lossText(p.Loss), ageText(p.LastAnswer, now))
	from, to := placeText(p.Local), placeText(p.Remote)
	if line := from + " → " + to; utf8.RuneCountInString(line) <= waysWidth {
		fmt.Fprintln(w, head+line)
		return
	}
	fmt.Fprintln(w, head+from)
	fmt.Fprintln(w, strings.Repeat(" ", len(head))+"→ "+to)
}

func marks(p tunnel.PairStatus) (s string) {
	for _, m := range []struct {
		is   bool
		mark string
	}{{p.Chosen, "*"}, {p.Nominated, "+"}, {p.Suspect, "?"}} {
		if m.is {
			s += m.mark
		}
	}
	return s
}

func placeText(e tunnel.EndpointStatus) string { return e.Address + " " + string(e.Type) }

func lossText(share *float64) string {
	if share == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", 100**share)
}

// printEvents tells what has happened, the newest last.
func printEvents(w io.Writer, events []tunnel.EventStatus, now time.Time) {
	if len(events) == 0 {
		return
	}
	fmt.Fprintln(w, "\nevents:")
	for _, e := range events {
		text := e.Text
		if e.Count > 1 && e.First != nil {
			text += fmt.Sprintf(" (%d times since %s)", e.Count, clockText(*e.First, now))
		}
		fmt.Fprintf(w, "%s  %s\n", clockText(e.Time, now), text)
	}
}

// clockText is a time of day, with its date when that is another.
func clockText(t, now time.Time) string {
	t = t.In(now.Location())
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly + ".000")
	}
	return t.Format(time.DateTime + ".000")
}
