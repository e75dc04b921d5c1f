package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/tun"
	"github.com/p2ptun/p2ptun/tunnel"
)

func runUp(e env, args []string) error {
	o, err := parseUp(args)
	if err != nil {
		return err
	}
	t, err := o.readTokens(e)
	if err != nil {
		return err
	}
	if o.foreground {
		return upForeground(e, o, t)
	}
	if up, err := runningAlready(e, o, t); up || err != nil {
		return err
	}
	return upBackground(e, o, t)
}

// runningAlready says whether a node runs that is what this `up` asks for; one
// that is something else is an error.
func runningAlready(e env, o *upOptions, t tokens) (bool, error) {
	var s tunnel.Status
	err := ask(e.ctx, o.Socket, "GET", "/status", nil, &s)
	var refusal *controlError
	switch {
	case errors.Is(err, errNotRunning):
		return false, nil
	case errors.As(err, &refusal) && refusal.Ending:
		ask(e.ctx, o.Socket, "POST", "/down", nil, new(any)) // answered when it has ended, for whatever reason
		return false, e.ctx.Err()
	case err != nil:
		return false, err
	case t.link != nil, t.invite != nil && t.invite.Network.ID().String() != s.Network.ID:
		return false, alreadyMember(networkText(s.Network))
	case s.Self.State == "joining":
		return false, config.WithHint(errors.New("p2ptun is running, but has not been admitted to its network yet"),
			"`p2ptun status` shows how it stands; `p2ptun down` stops it, another invite may follow")
	}
	text := "p2ptun is up already"
	if s.Self.State == "expired" {
		text += ", but the membership of this machine has ended: `p2ptun status` says more"
	}
	fmt.Fprintln(e.stderr, text)
	return true, nil
}

// upForeground runs the node in this process until the context ends, or a
// command ends it. Nothing is stored before all is known to be in order.
func upForeground(e env, o *upOptions, t tokens) error {
	if _, err := os.Stat(o.State); errors.Is(err, fs.ErrNotExist) && t.none() {
		return errNoNetwork
	}
	if err := tun.Check(o.Interface); err != nil {
		return err
	}
	dir, err := config.OpenDir(o.State)
	if err != nil {
		return err
	}
	defer dir.Close() // no harm after the session's
	known, err := dir.LoadNode()
	if err != nil {
		return err
	}
	node, err := o.member(t, known)
	if err != nil {
		return err
	}
	listener, err := listenControl(o.Socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	s := &session{dir: dir, node: node, fresh: node != known, listener: listener}
	if err := s.store(known); err != nil {
		return err
	}
	return s.run(e, o)
}

// logPath is the log file of the process that stays.
func (o *upOptions) logPath() string { return filepath.Join(o.State, "p2ptun.log") }
