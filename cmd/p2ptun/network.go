package main

import (
	"flag"
	"fmt"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/tunnel"
)

// networkFlags are those of all forms of `network`.
type networkFlags struct {
	socketFlags
	life       lifetime
	state      string
	name       string
	passphrase string // file
}

func runNetwork(e env, args []string) error {
	fs := flag.NewFlagSet("network", flag.ContinueOnError)
	var n networkFlags
	n.add(fs)
	fs.Var(&n.life, "member-expires", "with extend: how long from now, as `D` (default: for ever)")
	fs.StringVar(&n.state, "state", "", "with export-key and import-key: the state directory `DIR` of a node that does not run (default "+config.DefaultState+")")
	fs.StringVar(&n.name, "name", "", "with import-key, on a machine that is in no network: the `NAME` it is to have (default: the host name)")
	fs.StringVar(&n.passphrase, "passphrase-file", "", "with export-key and import-key: a `FILE` whose first line is the passphrase (default: asked on the terminal)")
	rest, err := parse(fs, args, 2)
	if err != nil {
		return err
	}
	switch form(rest) {
	case "delegate":
		return n.run(fs, rest, wantMember, func(socket string) error { return delegate(e, socket, rest[1]) })
	case "extend":
		return n.run(fs, rest, wantMember, func(socket string) error { return n.extend(e, socket, rest[1]) }, "member-expires")
	case "export-key":
		return n.exportKey(e, fs, rest)
	case "import-key":
		return n.importKey(e, fs, rest)
	}
	return usagef("want delegate, extend, export-key or import-key")
}

// nodeRequest names what a command is about: a node, or an invite.
type nodeRequest struct {
	Node string        // name or ID
	Life time.Duration `json:",omitempty"` // of its membership, for extend
}

func delegate(e env, socket, node string) error {
	var info tunnel.NodeInfo
	if err := ask(e.ctx, socket, "POST", "/delegate", nodeRequest{Node: node}, &info); err != nil {
		return err
	}
	fmt.Fprintf(e.stderr, "%s is an admin now: it can admit and revoke plain members\n", info.Name)
	return warnOffline(e, socket, membersOffline)
}

func (n *networkFlags) extend(e env, socket, node string) error {
	var info tunnel.NodeInfo
	if err := ask(e.ctx, socket, "POST", "/extend", nodeRequest{node, time.Duration(n.life)}, &info); err != nil {
		return err
	}
	if info.Expires == nil {
		fmt.Fprintf(e.stderr, "%s is a member without end now\n", info.Name)
	} else {
		fmt.Fprintf(e.stderr, "%s is a member until %s now\n", info.Name, endText(info.Expires))
	}
	return warnOffline(e, socket, membersOffline)
}
