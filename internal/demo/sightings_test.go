package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
)

func TestSightings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSightings()
		a, b := sighting{"n", "m", "a"}, sighting{"n", "m", "b"}
		if !s.add(a) || s.add(a) {
			t.Error("the first of two like sightings, and it alone, is new")
		}
		waited := make(chan error, 1)
		go func() { waited <- s.wait(t.Context(), a, b) }()
		synctest.Wait()
		select {
		case err := <-waited:
			t.Fatalf("did not wait for %v: %v", b, err)
		default:
		}
		s.add(b)
		if err := <-waited; err != nil {
			t.Error(err)
		}
	})
}

func TestSightingsGiveUp(t *testing.T) {
	why := errors.New("out of patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	err := newSightings().wait(ctx, sighting{"n", "m", "a"})
	if !errors.Is(err, why) || !strings.Contains(err.Error(), "m of n (a)") {
		t.Errorf("got %v, want what was not seen and %v", err, why)
	}
}
