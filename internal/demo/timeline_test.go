package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// screen is what was printed since it was last looked at.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return s.text.String()
}

// Lines that come late stand where they belong, and lines for the end wait for
// nothing.
func TestTimelineOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screen
		start := time.Now()
		tl := newTimeline(&out, start)
		ctx, cancel := context.WithCancel(t.Context())
		go tl.run(ctx)
		at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
		tl.add(at(30), "c", "third")
		tl.add(at(20), "b", "second\n\nof three\n")
		tl.add(at(10), "a$", "first up p2ptun-invite-AQESsecret")
		synctest.Wait()
		if got := out.take(); got != "" {
			t.Errorf("printed at once: %q", got)
		}
		time.Sleep(2 * hold)
		synctest.Wait()
		want := "\n +0.010s  a$     first up p2ptun-invite-AQES…\n" +
			" +0.020s  b      second\n\n                 of three\n" +
			" +0.030s  c      third\n"
		if got := out.take(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		tl.say("d", "%d last", 1)
		cancel()
		<-tl.ended
		if got, want := out.take(), " +0.300s  d      1 last\n"; got != want {
			t.Errorf("at the end: got %q, want %q", got, want)
		}
		tl.say("d", "too late") // does not block
	})
}

func TestVerdict(t *testing.T) {
	failed, left := errors.New("p2ptun up: no\n"), &leftError{errors.New("a file")}
	for _, x := range []struct {
		err         error
		interrupted bool
		want        string
	}{
		{nil, false, "all of it worked, nothing is left behind"},
		{nil, true, "all of it worked, nothing is left behind"},
		{failed, false, "FAILED: p2ptun up: no"},
		{failed, true, "interrupted, nothing is left behind"},
		{cleaned(failed, left.err), true, "FAILED: p2ptun up: no; left behind: a file"},
		{cleaned(nil, left.err), false, "FAILED: left behind: a file"},
	} {
		if got := verdict(x.err, x.interrupted); got != x.want {
			t.Errorf("%v, interrupted %v: got %q, want %q", x.err, x.interrupted, got, x.want)
		}
	}
}
