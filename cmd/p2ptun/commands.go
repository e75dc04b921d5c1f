package main

import (
	"fmt"
	"io"
)

// command is one entry of the command line.
type command struct {
	name  string
	forms []string // what may stand after the name, one usage line each
	text  string   // what it does, for the list of commands
	more  string   // for its own help; "" or whole lines
	run   func(env, []string) error
}

const tokenHelp = `INVITE and LINK are secrets: "-" reads one from standard input and "@FILE" from
a file, so that it shows neither in the process list nor in the shell's history.
`

const keyHelp = `NODE is a name or an ID. export-key writes what the network can be brought back
with to FILE or standard output, encrypted with a passphrase, also for age(1).
import-key makes a member's machine hold the network's key, and a member of a
machine that is in no network.
`

const netcheckHelp = `It asks the hub of the node that runs here, or that would run by its state
directory, or the hub whose LINK is given. Nothing has to run, and nothing of the
node's is disturbed: the tests have sockets of their own. They take some seconds;
--lifetime takes minutes.
`

func commands() []command {
	return []command{
		{"hub", []string{"[--public-addr IP]… [--alt-addr IP]", "link [--rotate]"}, "run a hub: signaling, STUN and TURN",
			"It prints the hub link on a terminal, and keeps it in its state directory, from\nwhere `hub link` prints it; it serves until SIGINT or SIGTERM.\n", runHub},
		{"up", []string{"[INVITE]", "--new NETWORK --hub LINK"}, "join (first time), bring the tunnel up and leave it up", tokenHelp, runUp},
		{"down", []string{""}, "take the tunnel down; it stays down until `up`", "", runDown},
		{"leave", []string{""}, "take the tunnel down and forget the network", "", runLeave},
		{"status", []string{"[NODE]"}, "show this machine, the hub and the peers", "", runStatus},
		{"nodes", []string{""}, "list the network's members", "", runNodes},
		{"invite", []string{"[--uses N] [--expires D] [--tag T]… [--replace NAME] [--keeper NODE]", "list [--json]", "revoke ID"}, "print an invite; list and revoke those that this machine keeps", "", runInvite},
		{"revoke", []string{"NODE [--keep-admitted|--drop-admitted]"}, "throw a member out for ever", "", runRevoke},
		{"network", []string{"delegate NODE", "extend NODE [--member-expires D]", "export-key [FILE]", "import-key [FILE|-]"}, "make an admin, move the end of a membership, back the network's key up", keyHelp, runNetwork},
		{"hubs", []string{"list [--json]", "set LINK"}, "show the network's hub, or move the network to another", tokenHelp, runHubs},
		{"ping", []string{"NODE"}, "ping a member; each reply says which path it took", "", runPing},
		{"netcheck", []string{"[--hub LINK]"}, "test what this network lets through, and what its NATs do", netcheckHelp, runNetcheck},
		{"version", []string{""}, "print the version", "", runVersion},
	}
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "p2ptun joins machines behind NATs into one private network.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  p2ptun %-8s %s\n", c.name, c.text)
	}
	fmt.Fprint(w, "\n`p2ptun COMMAND --help` shows a command's flags.\n")
}

// printHelp answers `p2ptun COMMAND --help`.
func (c command) printHelp(w io.Writer, flags string) {
	lead := "usage:"
	for _, form := range c.forms {
		line := lead + " p2ptun " + c.name
		if form != "" {
			line += " " + form
		}
		fmt.Fprintln(w, line)
		lead = "      "
	}
	fmt.Fprintf(w, "\n%s\n", c.text)
	if c.more != "" {
		fmt.Fprintf(w, "\n%s", c.more)
	}
	if flags != "" {
		fmt.Fprintf(w, "\n%s", flags)
	}
}
