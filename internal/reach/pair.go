package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
)

// prefix is the network of every pair: a is the first address.
var prefix = netip.MustParsePrefix("10.77.0.0/24")

// pair is two places, and what was found of them. a makes the network, b joins it.
type pair struct {
	a, b place
	err  error // why they do not connect

	path   peer.PathKind // in the end
	first  time.Duration // from b's up to the first ping of a's that was answered
	direct time.Duration // from b's up until both had a direct path
}

// asked are the ordered pairs that were asked for.
func asked(o *options) (pairs []*pair) {
	for _, a := range places {
		for _, b := range places {
			if o.pair.MatchString(a.kind + ", " + b.kind) {
				pairs = append(pairs, &pair{a: a, b: b})
			}
		}
	}
	return pairs
}

// measureAll measures pairs, several side by side, and tells of each.
func measureAll(ctx context.Context, o *options, pairs []*pair, tell func(*pair)) {
	queue := make(chan *pair, len(pairs))
	for _, p := range pairs {
		queue <- p
	}
	close(queue)
	var workers sync.WaitGroup
	for range o.parallel {
		workers.Go(func() {
			for p := range queue {
				if ctx.Err() == nil {
					p.err = p.measure(ctx, o)
					tell(p)
				}
			}
		})
	}
	workers.Wait()
}

// misses says whether the pair lacks what it can have.
func (p *pair) misses() bool {
	return p.err != nil || p.path == peer.PathNone || direct(p.a, p.b) && p.path != peer.PathDirect
}

func (p *pair) String() string {
	text := fmt.Sprintf("%s, %s: ", p.a.kind, p.b.kind)
	switch {
	case p.err != nil:
		return text + "NOT CONNECTED: " + p.err.Error()
	case p.misses():
		text += "LESS THAN IT CAN BE: "
	}
	return text + fmt.Sprintf("%s, first ping after %s s, direct after %s s", p.path, seconds(p.first), seconds(p.direct))
}

// measure connects the pair in a lab of its own.
func (p *pair) measure(ctx context.Context, o *options) (err error) {
	dir, err := os.MkdirTemp("", "p2ptun-reach-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	lab, err := natlab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	rig := &e2e.Rig{Lab: lab, Bin: o.bin, Dir: dir}
	hubHost, err := lab.PublicHost("hub", natlab.IPv6())
	if err != nil {
		return err
	}
	hub, err := rig.StartHub(ctx, hubHost, "--listen", ":443")
	if err != nil {
		return err
	}
	hostA, err := e2e.Place(lab, p.a.kind, "a")
	if err != nil {
		return err
	}
	hostB, err := e2e.Place(lab, p.b.kind, "b")
	if err != nil {
		return err
	}
	return p.connect(ctx, o, hub, rig.Node(hostA), rig.Node(hostB))
}

// connect has a make the network and b join it, and looks at what comes of it.
func (p *pair) connect(ctx context.Context, o *options, hub *e2e.Hub, a, b *e2e.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 2*o.connect)
	defer cancel()
	invite, err := a.Up(ctx, "--new", "reach", "--hub", hub.Link, "--prefix", prefix.String())
	if err != nil {
		return err
	}
	begun := time.Now()
	joined := make(chan error, 1)
	go func() {
		_, err := b.Up(ctx, invite)
		joined <- err
	}()
	limited, stop := context.WithTimeout(ctx, o.connect)
	defer stop()
	pinged := a.FirstPing(limited, prefix.Addr().Next().Next())
	p.first = time.Since(begun)
	if pinged != nil {
		cancel() // b may wait for longer
		return errors.Join(pinged, <-joined, why(a, b))
	}
	p.settle(ctx, begun, o.patience, a, b)
	return <-joined
}

// why is what a says of b.
func why(a, b *e2e.Node) error {
	s, err := a.Look(context.Background(), b)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %s", s.State, s.Why)
}

// settle waits until both have a direct path, or are not about to.
func (p *pair) settle(ctx context.Context, begun time.Time, patience time.Duration, a, b *e2e.Node) {
	const each = 5 * time.Millisecond
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; {
		if path(ctx, a, b) == peer.PathDirect && path(ctx, b, a) == peer.PathDirect {
			p.path, p.direct = peer.PathDirect, time.Since(begun)
			return
		}
		time.Sleep(each) // so exact is the time
	}
	p.path = path(ctx, a, b)
}

// path is what carries a node's packets to another now.
func path(ctx context.Context, from, to *e2e.Node) peer.PathKind {
	s, err := from.Look(ctx, to)
	if err != nil || s.State != peer.Connected {
		return peer.PathNone
	}
	return s.Path
}
