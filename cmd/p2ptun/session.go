package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/procs"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
	"golang.org/x/sync/errgroup"
)

// session is one run of a node with its control socket.
type session struct {
	dir      *config.Dir
	node     *config.Node
	fresh    bool // this command made or joined the network
	listener net.Listener
}

// run serves until the context ends, or a command ends the node. Commands that
// wait for the end are answered when the interface is gone, the socket closed
// and the state directory free, so that `up` may follow `down` at once.
func (s *session) run(e env, o *upOptions) error {
	ctx, stop := context.WithCancel(e.ctx)
	defer stop()
	ready := make(chan struct{})
	node, err := s.open(e, o, func() { close(ready) })
	if err != nil {
		if s.fresh {
			s.undo(e)
		}
		return err
	}
	c := newControl(node, stop)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.serve(ctx, s.listener) })
	g.Go(func() error { return procs.Run(ctx) })
	g.Go(func() error {
		select {
		case <-ready:
			s.dir.DropEarlier() // the next `up` does it if this fails
			return announce(ctx, e, node, s.fresh && s.node.Creator != nil)
		case <-ctx.Done():
			return nil
		}
	})
	err = node.Run(ctx)
	stop()
	switch forget := c.decide(); {
	case forget:
		err = cmp.Or(err, s.dir.Forget())
	case !isClosed(ready) && s.cameToNothing(err):
		err = cmp.Or(err, s.undo(e))
	}
	s.listener.Close()
	s.dir.Close()
	c.finish(err)
	return cmp.Or(err, g.Wait())
}

// open makes the node, with its log where it belongs.
func (s *session) open(e env, o *upOptions, ready func()) (*tunnel.Node, error) {
	var logs io.Writer = e.stderr
	if e.background != nil {
		file, err := e.background.logTo(o.logPath())
		if err != nil {
			return nil, err
		}
		logs = file
	}
	logger, err := o.log.open(logs)
	if err != nil {
		return nil, err
	}
	return tunnel.New(tunnel.Config{
		Dir: s.dir, Node: s.node, Interface: o.Interface, Port: o.Port, RelayOnly: o.RelayOnly, NoGSO: o.NoGSO, NoLAN: o.NoLAN, Relays: o.relays, Log: logger,
		Progress: func(line string) { fmt.Fprintln(e.stderr, line) },
		Ready:    ready,
	})
}

// cameToNothing says whether a membership that was never up is to be undone: a
// network that this command made and that nobody has been invited to, or a
// request that the keeper refused, or that the hub did not let through. One that
// was interrupted is kept: the keeper may have admitted these keys.
func (s *session) cameToNothing(err error) bool {
	return s.fresh && (s.node.Creator != nil || errors.Is(err, tunnel.ErrTurnedAway)) || errors.Is(err, tunnel.ErrRefused)
}

// store writes what this command begins. What the machine was about to be
// before, by another invite, is set aside until this one has proved good.
func (s *session) store(known *config.Node) error {
	switch {
	case !s.fresh && known.Joined():
		return s.dir.DropEarlier()
	case !s.fresh:
		return nil
	case known != nil:
		if err := s.dir.SetAside(known); err != nil {
			return err
		}
	}
	return s.dir.SaveNode(s.node)
}

// undo goes back to what was set aside. Where there is nothing, what this
// command began is forgotten.
func (s *session) undo(e env) error {
	earlier, err := s.dir.TakeBack()
	switch {
	case err != nil:
		return err
	case earlier != nil:
		fmt.Fprintln(e.stderr, "the invite that this machine had before still stands; `p2ptun up` goes on with it")
	case s.fresh:
		return s.dir.Forget()
	}
	return nil
}

// announce tells whoever waits that the node is up.
func announce(ctx context.Context, e env, node *tunnel.Node, invite bool) error {
	if invite {
		token, err := node.Invite(ctx, signaling.InviteOptions{})
		if err != nil {
			return err
		}
		fmt.Fprintln(e.stderr, "on another machine run `sudo p2ptun up INVITE` with this invite, good once and for 24 hours:")
		fmt.Fprintln(e.stdout, token)
		if st, err := node.Status(ctx); err == nil && !st.Hub.Connected {
			fmt.Fprintf(e.stderr, offlineWarning, inviteOffline)
		}
	}
	notifySystemd("READY=1")
	if e.background != nil {
		e.background.ready()
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
