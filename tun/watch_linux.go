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
	// lookGap is how long after a look the next one is at the earliest: one
	// change comes as a burst of messages. A machine whose network never comes to
	// rest spends one part in lookShare of a processor on it.
	lookGap   = 10 * time.Millisecond
	lookShare = 20

	// lossTime is how long something has to be gone before that is believed: an
	// address is often replaced by taking it away first.
	lossTime = 50 * time.Millisecond

	// restoreGap is the least time between two repairs of our interface, where
	// something takes away again and again what it needs.
	restoreGap = 250 * time.Millisecond

	// retryTime passes before a lost subscription is opened anew.
	retryTime = time.Second
)

// Watch calls changed with LocalAddrs at once, and again with the new ones
// whenever these or the host's routes to the internet have changed: within
// milliseconds where something has come, after a moment where something is only
// gone. why says in words what has changed; it is empty at first.
//
// What something else takes away from own is put back, see Restore; own may be
// nil. Watch returns nil when ctx ends and its goroutines have ended; until then
// it outlives every failure of its netlink socket, which it logs.
//
// changed runs on Watch's goroutine. It may block: changes meanwhile are
// reported as one, after it returns.
func Watch(ctx context.Context, log *slog.Logger, own *Interface, changed func(addrs []netip.Addr, why string)) error {
	w := watcher{look: look, changed: changed, restore: func() {}, log: log}
	index := 0
	if own != nil {
		index = own.index
		w.restore = func() { own.mend(log) }
	}
	w.subscribe = func() (source, error) { return subscribe(index) }
	w.run(ctx)
	return nil
}

// source reports that something about the host's network changed.
type source interface {
	// Receive blocks until something may have changed; own says that our
	// interface may have lost something. An error means that the source is of no
	// use any more.
	Receive() (own bool, err error)
	// Close makes Receive return an error.
	Close()
}

// watcher is Watch with its edges open; everything belongs to run's goroutine.
type watcher struct {
	subscribe func() (source, error)
	look      func() (view, error)
	changed   func(addrs []netip.Addr, why string)
	restore   func()
	log       *slog.Logger

	reported bool
	last     view      // as reported
	lacking  time.Time // since when the network lacks something; zero: it does not

	harmed   time.Time // since when our interface may lack something; zero: it does not
	restored time.Time
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
	n := news{make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})}
	var srcErr error // valid once n.done is closed
	go func() {
		defer close(n.done)
		for {
			own, err := src.Receive()
			if err != nil {
				srcErr = err
				return
			}
			if own {
				signal(n.own)
			}
			signal(n.events)
		}
	}()
	err := w.report(ctx, n)
	src.Close()
	<-n.done
	return cmp.Or(err, srcErr)
}

// news is what a source has said: something happened, it was to our interface,
// it says nothing more.
type news struct{ events, own, done chan struct{} }

// signal makes the reader of c look, if it is not about to already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// report looks at the network at once and after each event, until ctx ends or
// the source does.
func (w *watcher) report(ctx context.Context, n news) error {
	w.mend(time.Now()) // nobody was watching
	for ctx.Err() == nil {
		took, err := w.check()
		if err != nil {
			return err
		}
		select {
		case <-time.After(max(lookGap, lookShare*took)):
		case <-ctx.Done():
		}
		var due <-chan time.Time
		if at := w.due(); !at.IsZero() {
			due = time.After(time.Until(at))
		}
		select {
		case <-n.events:
		case <-due:
		case <-n.done:
			return nil
		case <-ctx.Done():
		}
		select {
		case <-n.own:
			if w.harmed.IsZero() {
				w.harmed = time.Now()
			}
		default:
		}
	}
	return nil
}

// check looks once, tells what is new, and returns how long looking took.
func (w *watcher) check() (took time.Duration, err error) {
	start := time.Now()
	if at := w.mendAt(); !at.IsZero() && !start.Before(at) {
		w.mend(start)
		start = time.Now()
	}
	now, err := w.look()
	if err != nil {
		return 0, err
	}
	took = time.Since(start)
	switch {
	case w.reported && now.equal(w.last):
		w.lacking = time.Time{}
	case w.reported && now.lacks(w.last) && w.lacking.IsZero():
		w.lacking = start
	case w.reported && now.lacks(w.last) && start.Before(w.lacking.Add(lossTime)):
	default:
		w.tell(now)
	}
	return took, nil
}

func (w *watcher) tell(now view) {
	why := ""
	if w.reported {
		why = now.since(w.last)
		w.log.Info("the network has changed", "why", why, "local", now.addrs)
	}
	w.reported, w.last, w.lacking = true, now, time.Time{}
	w.changed(slices.Clone(now.addrs), why)
}

// mend repairs our interface.
func (w *watcher) mend(now time.Time) {
	w.harmed, w.restored = time.Time{}, now
	w.restore()
}

// mendAt is when mend is due, so that a burst is one repair; zero: never.
func (w *watcher) mendAt() time.Time {
	if w.harmed.IsZero() {
		return time.Time{}
	}
	at := w.harmed.Add(lossTime)
	if again := w.restored.Add(restoreGap); again.After(at) {
		return again
	}
	return at
}

// due is when to look again without an event; zero: never.
func (w *watcher) due() time.Time {
	at := w.mendAt()
	if believe := w.lacking.Add(lossTime); !w.lacking.IsZero() && (at.IsZero() || believe.Before(at)) {
		return believe
	}
	return at
}
