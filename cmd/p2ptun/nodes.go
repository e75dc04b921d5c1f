package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

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
	return printNodes(e.stdout, nodes)
}

func printNodes(w io.Writer, nodes []tunnel.NodeInfo) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tONLINE\tADDRESSES\tTAGS\tID")
	for _, n := range nodes {
		name, online := n.Name, "no"
		if n.Self {
			name += " (this machine)"
		}
		if n.Online {
			online = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", name, online, joinAddrs(n.Addresses), orDash(strings.Join(n.Tags, ",")), n.ID)
	}
	return t.Flush()
}
