package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	streamRate = 1e6 // bytes a second, each way
	piece      = streamRate / 100
)

// stream is a TCP connection that carries the same each way. Close it.
type stream struct {
	ends    [2]*net.TCPConn
	stop    chan struct{}
	running sync.WaitGroup

	mu   sync.Mutex
	got  [2][]time.Time // when bytes came to an end
	errs []error        // before close
}

// startStream connects from one node to another, through the tunnel.
func startStream(ctx context.Context, from, to *place) (*stream, error) {
	l, err := to.node.Host.ListenTCP(netip.AddrPortFrom(to.addr, 0))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	s := &stream{stop: make(chan struct{})}
	if s.ends[0], err = from.node.Host.DialTCP(ctx, l.Addr().(*net.TCPAddr).AddrPort()); err != nil {
		return nil, err
	}
	l.SetDeadline(time.Now().Add(5 * time.Second))
	if s.ends[1], err = l.AcceptTCP(); err != nil {
		s.ends[0].Close()
		return nil, err
	}
	for i, conn := range s.ends {
		s.running.Go(func() { s.write(conn) })
		s.running.Go(func() { s.read(i, conn) })
	}
	return s, nil
}

func (s *stream) write(conn net.Conn) {
	pace := time.NewTicker(time.Second * piece / streamRate)
	defer pace.Stop()
	for b := make([]byte, piece); ; {
		if _, err := conn.Write(b); err != nil {
			s.failed(err)
			return
		}
		select {
		case <-pace.C:
		case <-s.stop:
			return
		}
	}
}

func (s *stream) read(i int, conn net.Conn) {
	for b := make([]byte, 1<<16); ; {
		_, err := conn.Read(b)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			s.failed(err)
			return
		}
		s.mu.Lock()
		s.got[i] = append(s.got[i], time.Now())
		s.mu.Unlock()
	}
}

// failed notes why the connection has ended, unless it was to end.
func (s *stream) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stop:
	default:
		s.errs = append(s.errs, err)
	}
}

// stalled is the longest time since then for which nothing came to an end.
func (s *stream) stalled(from time.Time) (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, got := range s.got {
		longest = max(longest, silence(nil, got, from, now))
	}
	return longest
}

// flows says whether bytes came to both ends within the last moment, or why
// they never will.
func (s *stream) flows(moment time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, got := range s.got {
		if len(got) == 0 || time.Since(got[len(got)-1]) > moment {
			return false, errors.Join(s.errs...)
		}
	}
	return len(s.errs) == 0, errors.Join(s.errs...)
}

func (s *stream) close() {
	close(s.stop)
	for _, conn := range s.ends {
		conn.SetLinger(0)
		conn.Close()
	}
	s.running.Wait()
}
