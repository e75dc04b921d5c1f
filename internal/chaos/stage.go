package main

import (
	"context"
	"fmt"
	"time"
)

// stage is the world of one run: a and b, what they send each other, and what
// they say of it. In a soak it is a world in which a is the next victim.
type stage struct {
	*world
	pair *pair
	a, b *place

	flows  [2]*flow // from a to b, and back; nil where a only receives
	stream *stream  // nil there too
	watch  *watch
}

// connectLimit is how long the nodes may take to be connected before the fault.
const connectLimit = 40 * time.Second

func newStage(ctx context.Context, o *options, f *fault, p *pair) (s *stage, err error) {
	s = &stage{pair: p}
	if s.world, err = newWorld(ctx, o); err != nil {
		return nil, err
	}
	if err = p.place(s.world); err == nil {
		s.a, s.b = s.places[0], s.places[1]
		if f.prepare != nil {
			err = f.prepare(s)
		}
	}
	if err == nil {
		err = s.begin(!f.receives)
	}
	if err != nil {
		s.close()
	}
	return s, err
}

// begin starts everything and waits for the best path. a may send, or not.
func (s *stage) begin(sends bool) (err error) {
	ctx, cancel := context.WithTimeoutCause(s.ctx, connectLimit, fmt.Errorf("not connected within %v", connectLimit))
	defer cancel()
	if err := s.start(ctx); err != nil {
		return err
	}
	if sends {
		if s.flows[0], err = startFlow(s.a, s.b, interval); err != nil {
			return err
		}
	}
	if s.flows[1], err = startFlow(s.b, s.a, interval); err != nil {
		return err
	}
	s.watch = startWatch(s)
	if err := poll(ctx, func() bool { return s.watch.all() && s.thirdConnected(ctx) }); err != nil {
		return fmt.Errorf("%w: %s", err, s.watch.said())
	}
	if sends {
		s.stream, err = startStream(ctx, s.a, s.b)
	}
	return err
}

// thirdConnected says whether a third node, if there is one, is connected to
// both others.
func (s *stage) thirdConnected(ctx context.Context) bool {
	for _, third := range s.places[2:] {
		for _, other := range s.places[:2] {
			if third.node.FirstPing(ctx, other.addr) != nil || !connectedTo(ctx, third.node, other.node) || !connectedTo(ctx, other.node, third.node) {
				return false
			}
		}
	}
	return true
}

func (s *stage) close() {
	if s.watch != nil {
		s.watch.close()
	}
	if s.stream != nil {
		s.stream.close()
	}
	for _, f := range s.flows {
		if f != nil {
			f.close()
		}
	}
	s.world.close()
}

// lookEvery is how often it is asked how things stand.
const lookEvery = 50 * time.Millisecond

// poll waits until cond holds.
func poll(ctx context.Context, cond func() bool) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
