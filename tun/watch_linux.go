package tun

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

const (
	// settleTime is how long the kernel must be silent before the addresses
	// are looked at again: one change comes as a burst of messages.
	settleTime = 50 * time.Millisecond

	// settleLimit bounds that wait where messages keep coming.
	settleLimit = 250 * time.Millisecond

	// retryTime passes before a lost subscription is opened anew.
	retryTime = time.Second
)

// Watch calls changed with LocalAddrs at once, and again with the new ones
// whenever these or the host's default routes have changed, within a quarter
// of a second. It returns nil when ctx ends and its goroutines have ended; until
// then it outlives every failure of its netlink socket, which it logs.
//
// changed runs on Watch's goroutine. It may block: changes meanwhile are
// reported as one, after it returns.
func Watch(ctx context.Context, log *slog.Logger, changed func([]netip.Addr)) error {
	w := watcher{subscribe: subscribe, look: look, changed: changed, log: log}
	w.run(ctx)
	return nil
}

// source reports that something about the host's network changed.
type source interface {
	// Receive blocks until something may have changed. An error means that the
	// source is of no use any more.
	Receive() error
	// Close makes Receive return an error.
	Close()
}

// watcher is Watch with its edges open; everything belongs to run's goroutine.
type watcher struct {
	subscribe func() (source, error)
	look      func() (view, error)
	changed   func([]netip.Addr)
	log       *slog.Logger

	reported bool
	last     view // as reported
}

func (w *watcher) run(ctx context.Context) {
	for {
		src, err := w.subscribe()
		if err == nil {
			err = w.follow(ctx, src)
		}
		if ctx.Err() != nil {
			return
		}
		w.log.Warn("lost sight of network changes, trying again", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryTime):
		}
	}
}

// follow reports changes until src fails, the host's network cannot be looked
// at, or ctx ends. It closes src.
func (w *watcher) follow(ctx context.Context, src source) error {
	events := make(chan struct{}, 1)
	done := make(chan struct{})
	var srcErr error // valid once done is closed
	go func() {
		defer close(done)
		for {
			if srcErr = src.Receive(); srcErr != nil {
				return
			}
			select {
			case events <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	err := w.report(ctx, events, done)
	src.Close()
	<-done
	return cmp.Or(err, srcErr)
}

// report looks at the network once and again after each burst of events, until
// ctx ends or done is closed.
func (w *watcher) report(ctx context.Context, events, done <-chan struct{}) error {
	for ctx.Err() == nil {
		now, err := w.look()
		if err != nil {
			return err
		}
		if !w.reported || !now.equal(w.last) {
			w.reported, w.last = true, now
			w.changed(slices.Clone(now.addrs))
		}
		select {
		case <-events:
			settle(ctx, events)
		case <-done:
			return nil
		case <-ctx.Done():
		}
	}
	return nil
}

// settle returns when events have stopped for settleTime, or after settleLimit.
func settle(ctx context.Context, events <-chan struct{}) {
	limit := time.After(settleLimit)
	for {
		select {
		case <-events:
		case <-time.After(settleTime):
			return
		case <-limit:
			return
		case <-ctx.Done():
			return
		}
	}
}
