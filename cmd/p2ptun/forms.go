package main

import (
	"flag"
	"fmt"
	"slices"

	"github.com/p2ptun/p2ptun/tunnel"
)

// Some commands have several forms, named by the first argument. They share one
// set of flags, so that these may stand before that name, too.

// form is the name of the form that was asked for, "" for none.
func form(rest []string) string {
	if len(rest) == 0 {
		return ""
	}
	return rest[0]
}

// run does one form of a command: with the flags that go with it, besides those
// that find the node, and with one argument if argument says what it is.
func (s *socketFlags) run(fs *flag.FlagSet, rest []string, argument string, do func(socket string) error, flags ...string) error {
	if err := only(fs, fs.Name()+" "+rest[0], flags...); err != nil {
		return err
	}
	switch {
	case argument != "" && len(rest) < 2:
		return usagef("want %s", argument)
	case argument == "" && len(rest) > 1:
		return usagef("unexpected argument %q", rest[1])
	}
	socket, err := s.path()
	if err != nil {
		return err
	}
	return do(socket)
}

// only finds a flag that was given and does not go with a form.
func only(fs *flag.FlagSet, form string, flags ...string) (err error) {
	flags = append(flags, "socket", "interface", "config")
	fs.Visit(func(f *flag.Flag) {
		if !slices.Contains(flags, f.Name) && err == nil {
			err = usagef("--%s does not go with `p2ptun %s`", f.Name, form)
		}
	})
	return err
}

const wantMember = "the name or ID of a member; `p2ptun nodes` lists them"

// warnOffline says, on a machine that is not connected to its hub, what that
// means for what was just done.
func warnOffline(e env, socket, meaning string) error {
	var s tunnel.Status
	if err := ask(e.ctx, socket, "GET", "/status", nil, &s); err != nil {
		return err
	}
	if !s.Hub.Connected {
		fmt.Fprintf(e.stderr, offlineWarning, meaning)
	}
	return nil
}

const offlineWarning = "p2ptun: warning: this machine is not connected to the hub; %s\n"

const membersOffline = "the other members hear of this once it is"
