package peer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/internal/framed"
	"golang.org/x/sync/errgroup"
)

// Stream is the way to a TURN server by TCP, TLS or whatever else carries bytes in
// order (RFC 8656 section 2.1), for networks that let no UDP through. One is the
// same as another if it is the same pointer.
type Stream struct {
	URL string // names the server and the way for people, and for RelayState

	// Cost is what the way takes beyond its round trip, in comparison with other
	// ways: of those that answer the cheapest is used. They are tried one after the
	// other by it, each so long after the first.
	Cost time.Duration

	// Dial opens it, when ctx ends at the latest. From any goroutine.
	Dial func(ctx context.Context) (net.Conn, error)
}

const (
	// streamDial is for how long a stream may be made, and streamAgain the pause
	// after one that was not to be had, doubling up to streamMaxWait.
	streamDial    = 10 * time.Second
	streamAgain   = 500 * time.Millisecond
	streamMaxWait = 10 * time.Second

	// maxStreams are open to different servers, or ways to one, at most.
	maxStreams = 16
)

var (
	errNotOpen    = errors.New("the stream to the server is not open")
	errStreamFull = errors.New("the stream to the server takes no more")
	errUnwanted   = errors.New("the stream is not wanted any more")
)

// streamSocket is a Socket that leads to one server, while its stream is open.
type streamSocket struct{ writer atomic.Pointer[framed.Writer] }

// SendTo queues a message. What waits too long is dropped, see framed.Writer.
func (s *streamSocket) SendTo(b []byte, _ netip.Addr, _ netip.AddrPort) error {
	if w := s.writer.Load(); w != nil {
		if !w.Send(b, nil) {
			return errStreamFull
		}
		return nil
	}
	return errNotOpen
}

// Probe is SendTo: nothing is ever fragmented.
func (s *streamSocket) Probe(b []byte, local netip.Addr, to netip.AddrPort) error {
	return s.SendTo(b, local, to)
}

// SendJoined has nothing to join.
func (s *streamSocket) SendJoined([][]byte, netip.AddrPort) error { return errors.ErrUnsupported }

// SetJoining has nothing to join.
func (s *streamSocket) SetJoining(bool, bool) {}

// keepStream keeps the stream open while it is wanted, until ctx ends.
func (s *server) keepStream(ctx context.Context) {
	defer s.underlay.setSilent(s, false)
	wait := s.stream.Cost
	for {
		if !s.awaitOpen(ctx) {
			return
		}
		if !s.rest(ctx, wait) {
			wait = s.stream.Cost
			continue
		}
		began := time.Now()
		err := s.runStream(ctx)
		s.lose(ctx, err)
		wait = min(max(2*wait, streamAgain), streamMaxWait)
		if !errors.As(err, new(*dialError)) && time.Since(began) > wait {
			wait = 0 // it has worked
		}
	}
}

// awaitOpen waits until the stream is wanted; false: ctx ended.
func (s *server) awaitOpen(ctx context.Context) bool {
	for !s.open.Load() {
		select {
		case <-ctx.Done():
			return false
		case <-s.opened:
		}
	}
	return ctx.Err() == nil
}

// rest waits, and says whether the stream is wanted still.
func (s *server) rest(ctx context.Context, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	for s.open.Load() {
		select {
		case <-ctx.Done():
			return false
		case <-s.opened:
		case <-t.C:
			return true
		}
	}
	return false
}

// lose notes that the stream is gone, or was not to be had.
func (s *server) lose(ctx context.Context, err error) {
	s.probe.silent()
	s.underlay.setSilent(s, err != nil && ctx.Err() == nil)
	if err != nil && ctx.Err() == nil {
		if errors.As(err, new(*dialError)) {
			signal(s.verify) // it does not come back
		}
		s.trouble.Store(&trouble{err, time.Now()})
		s.underlay.log.Debug("stream to a relay is gone", "server", s, "err", err)
	}
	signal(s.underlay.reconcile)
}

// runStream makes the stream, and reads from it until it breaks, or ctx ends, or it
// is not wanted any more, which is nil.
func (s *server) runStream(ctx context.Context) error {
	dctx, cancel := context.WithTimeout(ctx, streamDial)
	conn, err := s.stream.Dial(dctx)
	cancel()
	if err != nil {
		return &dialError{err}
	}
	framed.Tune(conn)
	writer := framed.NewWriter(conn)
	s.carrier.writer.Store(writer)
	defer s.carrier.writer.Store(nil)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return writer.Run(ctx.Done()) })
	g.Go(func() error { return s.readStream(conn) })
	g.Go(func() error { return s.probeStream(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		return conn.Close()
	})
	if err := g.Wait(); !errors.Is(err, errUnwanted) {
		return err
	}
	return nil
}

// dialError is that of a stream that was not to be had.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// readStream hands on what comes. Before it reads more it lets others run: so what it
// has handed on is worked off meanwhile, and the rest waits in the kernel, which holds
// the sender back.
func (s *server) readStream(conn net.Conn) error {
	for r := framed.NewReader(conn); ; {
		if !r.More() {
			runtime.Gosched()
		}
		m, err := r.Next()
		if err != nil {
			return err
		}
		s.handle(zeroAddr, m)
	}
}

// probeStream is keepReflexive for a stream: it measures the way, and finds out that
// it is dead. What the server sees of this node there is no candidate.
func (s *server) probeStream(ctx context.Context) error {
	for first := true; s.open.Load(); first = false {
		if _, ok := s.ask(ctx); !ok {
			return errTURNSilent
		}
		s.answers.Add(1)
		if first {
			s.trouble.Store(nil)
			if c := s.client.Load(); c != nil {
				c.hurry()
			}
			signal(s.verify) // the server knows an allocation by its stream
			signal(s.again)
		}
		t := time.NewTimer(probeEvery)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.opened:
		case <-s.probe.wake:
		case <-t.C:
		}
		t.Stop()
	}
	return errUnwanted
}

// cut says whether the server is reached by a stream, and cannot be now: it gives up
// what belongs to one that is gone.
func (s *server) cut() bool { return s.stream != nil && s.carrier.writer.Load() == nil }

// String names the server.
func (s *server) String() string {
	if s.stream != nil {
		return s.stream.URL
	}
	return s.addr.String()
}
