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
	changes chan error    // what Receive returns
	own     chan struct{} // it is about our interface
	opened  int           // subscriptions so far

	mu      sync.Mutex // guards all below
	view    view
	lookErr error // returned by the next look only
	looks   int
	mended  []time.Time
}

// report is one call of changed.
type report struct {
	addrs []netip.Addr
	why   string
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

func (n *fakeNet) restore() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mended = append(n.mended, time.Now())
}

// count is how often the network was looked at, and our interface mended.
func (n *fakeNet) count() (looks int, mended []time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.looks, slices.Clone(n.mended)
}

// set changes the network without telling anybody.
func (n *fakeNet) set(v view) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.view = v
}

func (s *fakeSource) Receive() (own bool, err error) {
	select {
	case err := <-s.net.changes:
		return false, err
	case <-s.net.own:
		return true, nil
	case <-s.closed:
		return false, errors.New("closed")
	}
}

func (s *fakeSource) Close() { close(s.closed) }

// watchFake runs a watcher over a fakeNet with one address, in a bubble, and
// checks that it ends.
func watchFake(t *testing.T, test func(n *fakeNet, reports <-chan report)) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{view: home, changes: make(chan error), own: make(chan struct{})}
		reports := make(chan report, 16)
		w := &watcher{
			subscribe: n.subscribe,
			look:      n.look,
			changed:   func(a []netip.Addr, why string) { reports <- report{a, why} },
			restore:   n.restore,
			log:       slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { w.run(ctx); close(ended) }()
		synctest.Wait()
		wantReports(t, "at once", reports, report{home.addrs, ""})
		sleep(time.Second)
		test(n, reports)
		cancel()
		<-ended
	})
}

// home is a network with one address and a router; next is another.
var (
	home = view{addrs("192.0.2.1"), ways{{2, netip.MustParseAddr("192.0.2.254"), netip.MustParseAddr("192.0.2.1")}}}
	next = view{addrs("198.51.100.1"), ways{{3, netip.MustParseAddr("198.51.100.254"), netip.MustParseAddr("198.51.100.1")}}}
)

func wantReports(t *testing.T, when string, reports <-chan report, want ...report) {
	t.Helper()
	var got []report
	for len(reports) > 0 {
		got = append(got, <-reports)
	}
	same := func(a, b report) bool { return slices.Equal(a.addrs, b.addrs) && a.why == b.why }
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("%s: reported %v, want %v", when, got, want)
	}
}

// sleep lets d of the bubble's time pass.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// change has the network become v, and tells of it.
func (n *fakeNet) change(v view) {
	n.set(v)
	n.changes <- nil
	synctest.Wait()
}

// What has come is told at once, and in words.
func TestWatchSaysWhatChanged(t *testing.T) {
	both := view{append(addrs("192.0.2.1"), next.addrs...), home.ways}
	gateway := home
	gateway.ways[0].gateway = netip.MustParseAddr("192.0.2.253")
	metric := both
	metric.ways = next.ways
	for _, tt := range []struct {
		name     string
		from, to view
		want     string
	}{
		{"another network", home, next, "the default route has moved"},
		{"an address more", home, both, "addresses changed"},
		{"another gateway", home, gateway, "the default route has moved"},
		{"another uplink is preferred", both, metric, "the default route has moved"},
		{"first route", view{addrs: home.addrs}, home, "a default route has come"},
		{"an address for another", view{addrs: home.addrs}, view{addrs: next.addrs}, "addresses changed"},
	} {
		watchFake(t, func(n *fakeNet, reports <-chan report) {
			n.change(tt.from)
			sleep(time.Second)
			for len(reports) > 0 {
				<-reports
			}
			n.change(tt.to)
			wantReports(t, tt.name, reports, report{tt.to.addrs, tt.want})
		})
	}
}

// What is only gone is told when it stays so; what takes its place meanwhile, at
// once.
func TestWatchAwaitsWhatTakesThePlace(t *testing.T) {
	watchFake(t, func(n *fakeNet, reports <-chan report) {
		n.change(view{addrs: home.addrs})
		sleep(lossTime - time.Millisecond)
		wantReports(t, "before it is believed", reports)
		sleep(2 * lookGap)
		wantReports(t, "gone", reports, report{home.addrs, "the default route is gone"})
		n.change(home)
		wantReports(t, "back", reports, report{home.addrs, "a default route has come"})
		sleep(time.Second)

		n.change(view{}) // the old address first, then the new one, then its route
		sleep(lookGap)
		n.change(view{addrs: next.addrs})
		sleep(lookGap)
		wantReports(t, "no way out yet", reports)
		n.change(next)
		wantReports(t, "there", reports, report{next.addrs, "the default route has moved"})
		sleep(time.Second)
		wantReports(t, "later", reports)

		n.change(view{})
		sleep(lossTime - lookGap)
		n.change(next)
		sleep(time.Second)
		wantReports(t, "gone for a moment", reports)
	})
}

// A burst is looked at when it begins and when it ends, an endless one now and
// then.
func TestWatchBoundsItsLooks(t *testing.T) {
	watchFake(t, func(n *fakeNet, reports <-chan report) {
		before, _ := n.count()
		start := time.Now()
		for i := 0; time.Since(start) < time.Second; i++ {
			if i == 500 {
				n.set(next)
			}
			n.changes <- nil
			sleep(time.Millisecond)
		}
		wantReports(t, "in the burst", reports, report{next.addrs, "the default route has moved"})
		looks, _ := n.count()
		if got, most := looks-before, int(time.Second/lookGap)+1; got > most {
			t.Errorf("looked %d times in a second, want at most %d", got, most)
		}
	})
}

func TestWatchReportsChangesOnly(t *testing.T) {
	watchFake(t, func(n *fakeNet, reports <-chan report) {
		n.change(home)
		sleep(time.Second)
		wantReports(t, "nothing changed", reports)
		n.change(view{ways: home.ways})
		sleep(time.Second)
		wantReports(t, "no address left", reports, report{nil, "addresses changed"})
	})
}

// Our interface is looked at when watching begins, and when something may have
// been taken from it: four times a second at most.
func TestWatchRestores(t *testing.T) {
	watchFake(t, func(n *fakeNet, reports <-chan report) {
		var mended []time.Time
		want := func(when string, times int) {
			t.Helper()
			if _, mended = n.count(); len(mended) != times {
				t.Errorf("%s: restored %d times, want %d", when, len(mended), times)
			}
		}
		want("at the beginning", 1)
		n.change(next)
		sleep(2 * time.Second)
		want("another interface", 1)
		n.own <- struct{}{}
		sleep(lossTime - lookGap)
		want("in the middle of a burst", 1)
		sleep(2 * lookGap)
		want("after it", 2)
		for range 100 {
			n.own <- struct{}{}
			sleep(10 * time.Millisecond)
		}
		want("again and again", 6)
		for i := 1; i < len(mended); i++ {
			if d := mended[i].Sub(mended[i-1]); d < restoreGap {
				t.Errorf("restored again after %v", d)
			}
		}
	})
}

// A dead subscription is opened again, and what changed meanwhile is seen.
func TestWatchSurvivesLoss(t *testing.T) {
	watchFake(t, func(n *fakeNet, reports <-chan report) {
		n.changes <- errors.New("socket died")
		synctest.Wait()
		n.set(next)
		sleep(2 * retryTime) // the first new subscription fails
		wantReports(t, "after the loss", reports, report{next.addrs, "the default route has moved"})
		if _, mended := n.count(); n.opened != 3 || len(mended) != 2 {
			t.Errorf("opened %d subscriptions, restored %d times; want 3, 2", n.opened, len(mended))
		}

		n.set(home)
		n.mu.Lock()
		n.lookErr = errors.New("dump interrupted")
		n.mu.Unlock()
		n.changes <- nil
		sleep(time.Second + retryTime)
		wantReports(t, "after a failed look", reports, report{home.addrs, "the default route has moved"})
	})
}
