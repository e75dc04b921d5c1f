package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// outcome is what a run found.
type outcome struct {
	silence [2]time.Duration // from a to b, and back
	stall   time.Duration    // of the TCP connection
	dead    bool             // the connection
	back    time.Duration    // until the best path carried again
	lost    bool             // the best path never did
	hub     time.Duration    // until both were at the hub again, for faults of the hub
	idle    float64          // share of the machine, from the fault on
	err     error            // why nothing could be measured
	said    string           // what the nodes said of their path, for a look by hand
}

// Times of a run.
const (
	warmUp    = time.Second     // undisturbed, before the fault
	carrying  = 2 * time.Second // undisturbed, after it
	noSilence = 200 * time.Millisecond
)

// run has one fault strike one pair.
func run(ctx context.Context, o *options, f *fault, p *pair) (out outcome) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newStage(ctx, o, f, p)
	if err != nil {
		return outcome{err: err}
	}
	defer s.close()
	if err := errors.Join(s.settled(ctx, connectLimit, warmUp), s.streaming(ctx, connectLimit)); err != nil {
		return outcome{err: fmt.Errorf("before the fault: %w", err)}
	}
	struck, busy := time.Now(), readLoad()
	if err := f.begin(s); err != nil {
		return outcome{err: err}
	}
	mended := time.Now()
	if f.lasts > 0 {
		pause(ctx, min(f.lasts, o.longest))
	}
	if f.end != nil {
		if err := f.end(s); err != nil {
			return outcome{err: err}
		}
		mended = time.Now()
	}
	left := s.settled(ctx, o.patience, carrying)
	// TCP waits twice as long before each repetition, so that it may need as long
	// again as nothing passed.
	_ = s.streaming(ctx, time.Since(struck)+carrying)
	if ctx.Err() != nil {
		return outcome{err: ctx.Err()}
	}
	out = s.measure(f, struck, mended, left != nil)
	out.idle = busy.idleSince()
	if o.logs != "" && out.misses(f.goal(p)) {
		out.err = s.keepLogs(filepath.Join(o.logs, strings.ReplaceAll(f.name+", "+p.name, " ", "-"), struck.Format("150405.000")))
	}
	return out
}

// misses says whether a goal is missed.
func (o *outcome) misses(goal time.Duration) bool {
	return o.err != nil || max(o.silence[0], o.silence[1]) > goal || o.dead || o.lost || o.back > bestPathGoal
}

// settled waits until the best path has carried everything for a while.
func (s *stage) settled(ctx context.Context, limit, quiet time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not settled within %v", limit))
	defer cancel()
	began := time.Now()
	err := poll(ctx, func() bool {
		now := time.Now()
		if !s.watch.all() || s.quiet() > noSilence {
			began = now
		}
		return now.Sub(began) >= quiet
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, s.watch.said())
	}
	return nil
}

// quiet is for how long a flow has carried nothing.
func (s *stage) quiet() (longest time.Duration) {
	for _, f := range s.flows {
		if f != nil {
			longest = max(longest, f.quiet())
		}
	}
	return longest
}

// streaming waits until the TCP connection carries, or is broken.
func (s *stage) streaming(ctx context.Context, limit time.Duration) error {
	if s.stream == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("TCP carries nothing within %v", limit))
	defer cancel()
	return poll(ctx, func() bool {
		flows, broken := s.stream.flows(noSilence)
		return flows || broken != nil
	})
}

// measure looks at what has come, and when.
func (s *stage) measure(f *fault, struck, mended time.Time, unsettled bool) (out outcome) {
	now := time.Now()
	from := struck
	if f.isBlind(s.pair) {
		from = mended
	}
	worse, hubless := s.watch.last()
	carried := worse
	for i, flow := range s.flows {
		if flow == nil {
			continue
		}
		sent, got := flow.soFar()
		out.silence[i] = silence(sent, got, from, now)
		if at := ended(got, mended, now, noSilence); at.After(carried) {
			carried = at
		}
	}
	out.back = max(0, carried.Sub(mended))
	out.lost = unsettled && !s.watch.all()
	if f.hub || f.end != nil {
		out.hub = max(0, hubless.Sub(mended))
	}
	out.said = s.watch.since(struck)
	if s.stream != nil {
		flows, broken := s.stream.flows(time.Second)
		out.dead, out.stall = !flows || broken != nil, s.stream.stalled(struck)
		if broken != nil {
			out.said += " TCP: " + broken.Error()
		}
	}
	return out
}

// pause waits; the time is what it is about.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
