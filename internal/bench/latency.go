package main

import (
	"context"
	"fmt"
	"time"
)

// The modest flow of the fairness load: 10 Mbit/s in packets that fit every
// tunnel.
const (
	modestSize = 1250
	modestRate = 10e6 / 8 / modestSize
)

// probes is how many pings are sent in so many seconds.
func probes(seconds float64) int {
	return max(int(seconds*float64(time.Second)/float64(pingPause)), 1)
}

// beside begins a TCP stream from a to b, if there is to be one; stop ends it.
func (t *trial) beside(ctx context.Context, loaded bool) (stop func(), err error) {
	if !loaded {
		return func() {}, nil
	}
	b, err := startBulk(ctx, t.a, t.b, t.addr[1], 1)
	if err != nil {
		return nil, err
	}
	return func() { b.stop() }, nil
}

// pingStep measures the round trip to b, alone or beside a TCP stream.
func pingStep(quantity string, loaded bool) func(*trial, context.Context) (string, error) {
	return func(t *trial, ctx context.Context) (string, error) {
		stop, err := t.beside(ctx, loaded)
		if err != nil {
			return "", err
		}
		defer stop()
		if loaded {
			if err := pause(ctx, t.warmUp); err != nil {
				return "", err
			}
		}
		trips, err := pings(ctx, t.a, t.addr[1], probes(t.seconds))
		if err != nil {
			return "", err
		}
		return t.addPings(quantity, trips, probes(t.seconds)), nil
	}
}

func (t *trial) addPings(quantity string, trips []float64, sent int) string {
	half, most := percentile(trips, 50), percentile(trips, 99)
	t.add(quantity+" p50", half)
	t.add(quantity+" p99", most)
	t.add(quantity+" lost", 100*(1-float64(len(trips))/float64(sent)))
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, %d of %d lost", half, most, sent-len(trips), sent)
}

// fairStep measures a modest flow and pings from a to c, alone or beside a TCP
// stream from a to b.
func fairStep(quantity string, loaded bool) func(*trial, context.Context) (string, error) {
	return func(t *trial, ctx context.Context) (string, error) {
		stop, err := t.beside(ctx, loaded)
		if err != nil {
			return "", err
		}
		defer stop()
		type result struct {
			stream
			err error
		}
		flow := make(chan result, 1)
		go func() {
			l := load{from: t.a, to: t.c, addr: t.addr[2], size: modestSize, rate: modestRate, warmUp: t.warmUp, seconds: t.seconds}
			s, err := l.stream(ctx, nil)
			flow <- result{s, err}
		}()
		err = pause(ctx, t.warmUp)
		var trips []float64
		if err == nil {
			trips, err = pings(ctx, t.a, t.addr[2], probes(t.seconds))
		}
		f := <-flow
		if err == nil {
			err = f.err
		}
		if err != nil {
			return "", err
		}
		t.add(quantity+" flow loss", 100*f.loss())
		said := t.addPings(quantity, trips, probes(t.seconds))
		return fmt.Sprintf("%s; flow lost %.2f %%", said, 100*f.loss()), nil
	}
}
