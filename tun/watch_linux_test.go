package tun

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeNet is a host's network and the stream of its changes.
type fakeNet struct {
	changes chan error // what Receive returns
	opened  int        // subscriptions so far

	mu      sync.Mutex
	view    view
	lookErr error // returned by the next look only
	looks   int
}

// fakeSource is one subscription to a fakeNet.
type fakeSource struct {
	net    *fakeNet
	closed chan struct{}
}

func (n *fakeNet) subscribe() (source, error) {
	if n.opened++; n.opened == 2 {
		return nil, errors.New("out of sockets")
	}
	return &fakeSource{n, make(chan struct{})}, nil
}

func (n *fakeNet) look() (view, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looks++
	err := n.lookErr
	n.lookErr = nil
	return n.view, err
}

// set changes the network without telling anybody.
func (n *fakeNet) set(v view) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.view = v
}

func (s *fakeSource) Receive() error {
	select {
	case err := <-s.net.changes:
		return err
	case <-s.closed:
		return errors.New("closed")
	}
}

func (s *fakeSource) Close() { close(s.closed) }

// watchFake runs a watcher over a fakeNet with one address, in a bubble, and
// checks that it ends.
func watchFake(t *testing.T, test func(n *fakeNet, reports <-chan []netip.Addr)) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{view: view{addrs: addrs("192.0.2.1")}, changes: make(chan error)}
		reports := make(chan []netip.Addr, 16)
		w := &watcher{
			subscribe: n.subscribe,
			look:      n.look,
			changed:   func(a []netip.Addr) { reports <- a },
			log:       slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { w.run(ctx); close(ended) }()
		synctest.Wait()
		wantReports(t, "at once", reports, addrs("192.0.2.1"))
		test(n, reports)
		cancel()
		<-ended
	})
}

func wantReports(t *testing.T, when string, reports <-chan []netip.Addr, want ...[]netip.Addr) {
	t.Helper()
	var got [][]netip.Addr
	for len(reports) > 0 {
		got = append(got, <-reports)
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%s: reported %v, want %v", when, got, want)
	}
}

// sleep lets d of the bubble's time pass.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestWatchDebounces(t *testing.T) {
	watchFake(t, func(n *fakeNet, reports <-chan []netip.Addr) {
		all := addrs("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5")
		for i := range 4 {
			n.set(view{addrs: all[:i+2]})
			n.changes <- nil
			sleep(settleTime - time.Millisecond)
		}
		wantReports(t, "in the burst", reports)
		sleep(time.Millisecond)
		wantReports(t, "after the burst", reports, all)
		if n.looks != 2 {
			t.Errorf("looked %d times, want 2", n.looks)
		}
	})
}

func TestWatchReportsInEndlessBurst(t *testing.T) {
	watchFake(t, func(n *fakeNet, reports <-chan []netip.Addr) {
		n.set(view{addrs: addrs("192.0.2.9")})
		for start := time.Now(); time.Since(start) <= settleLimit; sleep(settleTime / 2) {
			n.changes <- nil
		}
		wantReports(t, "after the limit", reports, addrs("192.0.2.9"))
	})
}

func TestWatchReportsChangesOnly(t *testing.T) {
	watchFake(t, func(n *fakeNet, reports <-chan []netip.Addr) {
		n.changes <- nil
		sleep(settleLimit)
		wantReports(t, "nothing changed", reports)

		way := defaultRoute{gateway: netip.MustParseAddr("192.0.2.254"), link: 2}
		n.set(view{addrs("192.0.2.1"), []defaultRoute{way}})
		n.changes <- nil
		sleep(settleLimit)
		wantReports(t, "default route", reports, addrs("192.0.2.1"))

		n.set(view{defaults: []defaultRoute{way}})
		n.changes <- nil
		sleep(settleLimit)
		wantReports(t, "no address left", reports, nil)
	})
}

// A dead subscription is opened again, and what changed meanwhile is seen.
func TestWatchSurvivesLoss(t *testing.T) {
	watchFake(t, func(n *fakeNet, reports <-chan []netip.Addr) {
		n.changes <- errors.New("socket died")
		synctest.Wait()
		n.set(view{addrs: addrs("192.0.2.2")})
		sleep(2 * retryTime) // the first new subscription fails
		wantReports(t, "after the loss", reports, addrs("192.0.2.2"))
		if n.opened != 3 {
			t.Errorf("opened %d subscriptions, want 3", n.opened)
		}

		n.set(view{addrs: addrs("192.0.2.3")})
		n.mu.Lock()
		n.lookErr = errors.New("dump interrupted")
		n.mu.Unlock()
		n.changes <- nil
		sleep(settleLimit + retryTime)
		wantReports(t, "after a failed look", reports, addrs("192.0.2.3"))
	})
}
