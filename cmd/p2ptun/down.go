package main

import (
	"cmp"
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

// leaveStopped forgets the network of a node that does not run.
func leaveStopped(state, file string) error {
	return withState(state, file, false, func(dir *config.Dir, node *config.Node) error {
		if node == nil {
			return errors.New("this machine is in no network")
		}
		return dir.Forget()
	})
}

// withState opens the state of a node that does not run: in the given directory,
// or in the one that the config file names. There is no node where it has none,
// and no directory either where there is none and create does not ask for it.
func withState(state, file string, create bool, do func(*config.Dir, *config.Node) error) error {
	if state == "" {
		f, err := config.LoadFile(file)
		if err != nil {
			return err
		}
		state = cmp.Or(f.State, config.DefaultState)
	}
	if _, err := os.Stat(state); errors.Is(err, fs.ErrNotExist) && !create {
		return inState(state, do(nil, nil))
	}
	dir, err := config.OpenDir(state)
	if err != nil {
		return err
	}
	defer dir.Close()
	node, err := dir.LoadNode()
	if err != nil {
		return err
	}
	return inState(state, do(dir, node))
}

// inState says which state directory an error is about.
func inState(state string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w (state directory %s)", err, state)
}
