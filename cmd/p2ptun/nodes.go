package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/p2ptun/p2ptun/tunnel"
)

func runNodes(e env, args []string) error {
	fs := flag.NewFlagSet("nodes", flag.ContinueOnError)
	var s socketFlags
	s.add(fs)
	asJSON := fs.Bool("json", false, "print JSON")
	if _, err := parse(fs, args, 0); err != nil {
		return err
	}
	socket, err := s.path()
	if err != nil {
		return err
	}
	var nodes []tunnel.NodeInfo
	if err := ask(e.ctx, socket, "GET", "/nodes", nil, &nodes); err != nil {
		return err
	}
	if *asJSON {
		return printJSON(e.stdout, nodes)
	}
	return printNodes(e.stdout, nodes, time.Now())
}

func printNodes(w io.Writer, nodes []tunnel.NodeInfo, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tONLINE\tADMIN\tADDRESSES\tTAGS\tMEMBER UNTIL\tID")
	for _, n := range nodes {
		name, end := n.Name, endText(n.Expires)
		if n.Self {
			name += " (this machine)"
		}
		if n.Expires != nil && !now.Before(*n.Expires) {
			end += " (over)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, yesNo(n.Online), yesNo(n.Admin), joinAddrs(n.Addresses), orDash(strings.Join(n.Tags, ",")), end, n.ID)
	}
	return t.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
