package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/internal/natlab"
)

// Times of a soak.
const (
	strikeEvery = 10 * time.Second
	strikeFor   = 4 * time.Second        // at most, then it is undone
	carryWithin = 5 * time.Second        // after that every pair must carry again
	soakFlow    = 100 * time.Millisecond // between two datagrams from one node to another
	soakRest    = 15 * time.Second       // before it is looked at what they use
	soakQuiet   = 500 * time.Millisecond // a flow that has been so for longer does not carry
)

// soak is eight nodes that all send to all others, while a fault strikes one of
// them each ten seconds.
type soak struct {
	*world
	rand    *rand.Rand
	flows   []*pairFlow
	faults  int
	stuck   []string        // pairs that did not carry in time, and after what
	returns []time.Duration // until all carried again
	seed    uint64
	before  []e2e.Usage // after the warm-up, by node
	after   []e2e.Usage
}

// pairFlow is what one node sends another.
type pairFlow struct {
	*flow
	from, to *place
}

func (f *pairFlow) String() string { return f.from.node.Name + "→" + f.to.node.Name }

// runSoak runs one and writes down what it found. Its error tells of stuck
// pairs, and of what has grown.
func runSoak(ctx context.Context, o *options) (err error) {
	dir, err := os.MkdirTemp("", "p2ptun-chaos-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := o.build(dir, true); err != nil {
		return err
	}
	seed := o.seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	fmt.Println("again with: -seed", seed)
	busy := readLoad()
	s, err := newSoak(ctx, o, seed)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.strikes(o.soak); err != nil {
		return err
	}
	err = s.write(o, busy.idleSince())
	if o.logs != "" {
		err = errors.Join(err, s.keepLogs(filepath.Join(o.logs, "soak")))
	}
	return errors.Join(err, s.verdict())
}

func newSoak(ctx context.Context, o *options, seed uint64) (s *soak, err error) {
	s = &soak{seed: seed, rand: rand.New(rand.NewPCG(seed, 1))}
	if s.world, err = newWorld(ctx, o); err != nil {
		return nil, err
	}
	if err = s.populate(); err == nil {
		err = s.begin()
	}
	if err != nil {
		s.close()
	}
	return s, err
}

// populate places the nodes. One has a second uplink, and all have clocks that
// can be stepped.
func (s *soak) populate() error {
	err := errors.Join(
		s.addPublic("public"),
		s.addHome("full", natlab.Full),
		s.addHome("port", natlab.PortRestricted),
		s.addHome("other", natlab.PortRestricted),
		s.addHome("symmetric", natlab.Symmetric),
		s.addCarrier("cgnat"),
		s.addLAN("lan1", "lan2"))
	if err != nil {
		return err
	}
	err = secondUplink(&stage{world: s.world, a: s.places[2]})
	for _, p := range s.places {
		err = errors.Join(err, useClock(&stage{world: s.world, a: p}))
	}
	return err
}

// begin starts everything and waits until all pairs carry.
func (s *soak) begin() error {
	ctx, cancel := context.WithTimeoutCause(s.ctx, 2*time.Minute, errors.New("not all pairs are connected within two minutes"))
	defer cancel()
	if err := s.start(ctx); err != nil {
		return err
	}
	for _, from := range s.places {
		for _, to := range s.places {
			if from == to {
				continue
			}
			f, err := startFlow(from, to, soakFlow)
			if err != nil {
				return err
			}
			s.flows = append(s.flows, &pairFlow{f, from, to})
		}
	}
	if err := poll(ctx, func() bool { return len(s.silent()) == 0 }); err != nil {
		return fmt.Errorf("%w: %v", err, s.silent())
	}
	return nil
}

// silent is the pairs that do not carry.
func (s *soak) silent() []*pairFlow {
	return slices.DeleteFunc(slices.Clone(s.flows), func(f *pairFlow) bool { return f.quiet() < soakQuiet })
}

// strikes has faults strike for some time. A fifth of it is the warm-up.
func (s *soak) strikes(d time.Duration) (err error) {
	began := time.Now()
	for time.Since(began) < d {
		if s.before == nil && time.Since(began) >= d/5 {
			if s.before, err = s.usage(); err != nil {
				return err
			}
		}
		next := time.Now().Add(strikeEvery)
		if err := s.strike(); err != nil {
			return err
		}
		pause(s.ctx, time.Until(next))
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
	}
	s.after, err = s.usage()
	if s.before == nil { // it was too short for a warm-up
		s.before = s.after
	}
	return err
}

// strike has one fault strike one node, undoes it, and waits until all pairs
// carry.
func (s *soak) strike() error {
	f, st := s.draw()
	what := fmt.Sprintf("%s (%s)", f.name, st.a.node.Name)
	if err := f.begin(st); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	pause(s.ctx, min(f.lasts, strikeFor))
	undo := f.end
	if undo == nil && f.undo != nil {
		pause(s.ctx, strikeFor)
		undo = f.undo
	}
	if undo != nil {
		if err := undo(st); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	s.faults++
	undone := time.Now()
	ctx, cancel := context.WithTimeout(s.ctx, carryWithin)
	defer cancel()
	// A pair may carry still what was sent before.
	pause(ctx, soakQuiet)
	err := poll(ctx, func() bool { return len(s.silent()) == 0 })
	took := time.Since(undone)
	if left := s.silent(); err != nil && len(left) > 0 {
		s.stuck = append(s.stuck, fmt.Sprintf("after %s: %v", what, left))
		fmt.Printf("%s: STUCK after %s: %v\n", time.Now().Format(time.TimeOnly), short(took), left)
		return nil
	}
	s.returns = append(s.returns, took)
	fmt.Printf("%s: %s: all carry after %s\n", time.Now().Format(time.TimeOnly), what, short(took))
	return nil
}

// draw draws a fault and whom it strikes.
func (s *soak) draw() (*fault, *stage) {
	for {
		f := faults[s.rand.IntN(len(faults))]
		at := s.rand.IntN(len(s.places))
		p := s.places[at]
		if f.can == nil || f.can(p) {
			other := s.places[(at+1+s.rand.IntN(len(s.places)-1))%len(s.places)]
			return f, &stage{world: s.world, a: p, b: other}
		}
	}
}

// usage is what the nodes use after a while without faults: until then some
// sessions are made anew.
func (s *soak) usage() (all []e2e.Usage, err error) {
	pause(s.ctx, soakRest)
	for _, p := range s.places {
		u, err := p.node.Usage(s.ctx, p.proc.PID())
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

func (s *soak) close() {
	for _, f := range s.flows {
		f.close()
	}
	s.world.close()
}
