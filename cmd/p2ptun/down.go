package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"

	"github.com/p2ptun/p2ptun/config"
)

func runDown(e env, args []string) error {
	flags := flag.NewFlagSet("down", flag.ContinueOnError)
	var s socketFlags
	s.add(flags)
	if _, err := parse(flags, args, 0); err != nil {
		return err
	}
	socket, err := s.path()
	if err != nil {
		return err
	}
	err = ask(e.ctx, socket, "POST", "/down", nil, new(any))
	if errors.Is(err, errNotRunning) {
		fmt.Fprintln(e.stderr, "p2ptun is down already")
		return nil
	}
	if err == nil {
		fmt.Fprintln(e.stderr, "p2ptun is down; `p2ptun up` brings it back")
	}
	return err
}

func runLeave(e env, args []string) error {
	flags := flag.NewFlagSet("leave", flag.ContinueOnError)
	var s socketFlags
	s.add(flags)
	state := flags.String("state", "", "state directory `DIR`, if the node is not running (default "+config.DefaultState+")")
	if _, err := parse(flags, args, 0); err != nil {
		return err
	}
	socket, err := s.path()
	if err != nil {
		return err
	}
	err = ask(e.ctx, socket, "POST", "/leave", nil, new(any))
	switch {
	case !errors.Is(err, errNotRunning):
	case *state == "" && (s.socket != "" || s.iface != ""):
		err = config.WithHint(err, "to forget the network of a node that does not run, say where its state is: --state DIR")
	default:
		err = leaveStopped(*state, s.file)
	}
	if err == nil {
		fmt.Fprintln(e.stderr, "this machine has left the network and forgotten its keys")
	}
	return err
}

// leaveStopped forgets the network of a node that does not run: in the given
// state directory, or in the one that the config file names.
func leaveStopped(state, file string) error {
	if state == "" {
		f, err := config.LoadFile(file)
		if err != nil {
			return err
		}
		if state = f.State; state == "" {
			state = config.DefaultState
		}
	}
	nothing := fmt.Errorf("this machine is in no network (state directory %s)", state)
	if _, err := os.Stat(state); errors.Is(err, fs.ErrNotExist) {
		return nothing
	}
	dir, err := config.OpenDir(state)
	if err != nil {
		return err
	}
	defer dir.Close()
	switch node, err := dir.LoadNode(); {
	case err != nil:
		return err
	case node == nil:
		return nothing
	}
	return dir.Forget()
}
