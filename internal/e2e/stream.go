package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// Stream is one TCP connection through the tunnel that carries random bytes for
// as long as it is wanted.
type Stream struct {
	out     *net.TCPConn
	stop    context.CancelFunc
	arrived atomic.Int64 // bytes
	sent    chan streamEnd
	got     chan streamEnd
}

type streamEnd struct {
	sum []byte
	err error
}

// StartStream begins one from the node to another's address inside the tunnel, of
// at most some bytes a second.
func (n *Node) StartStream(ctx context.Context, to *Node, addr netip.Addr, perSecond int) (*Stream, error) {
	l, err := to.Host.ListenTCP(netip.AddrPortFrom(addr, 0))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	s := &Stream{sent: make(chan streamEnd, 1), got: make(chan streamEnd, 1)}
	if s.out, err = n.Host.DialTCP(ctx, l.Addr().(*net.TCPAddr).AddrPort()); err != nil {
		return nil, err
	}
	in, err := l.Accept()
	if err != nil {
		s.out.Close()
		return nil, err
	}
	ctx, s.stop = context.WithCancel(ctx)
	go func() { s.sent <- s.write(ctx, perSecond) }()
	go func() { s.got <- s.read(in) }()
	return s, nil
}

func (s *Stream) write(ctx context.Context, perSecond int) streamEnd {
	const pieces = 100 // a second
	source, sum, piece := rand.NewChaCha8([32]byte{1}), sha256.New(), make([]byte, perSecond/pieces)
	pace := time.NewTicker(time.Second / pieces)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return end(sum, s.out.CloseWrite())
		case <-pace.C:
		}
		source.Read(piece)
		sum.Write(piece)
		if _, err := s.out.Write(piece); err != nil {
			return end(sum, err)
		}
	}
}

func (s *Stream) read(in net.Conn) streamEnd {
	defer in.Close()
	sum, b := sha256.New(), make([]byte, 1<<16)
	for {
		n, err := in.Read(b)
		sum.Write(b[:n])
		s.arrived.Add(int64(n))
		if err == io.EOF {
			return end(sum, nil)
		}
		if err != nil {
			return end(sum, err)
		}
	}
}

func end(sum hash.Hash, err error) streamEnd { return streamEnd{sum.Sum(nil), err} }

// Arrived is how many bytes have come out so far.
func (s *Stream) Arrived() int64 { return s.arrived.Load() }

// End ends the stream, and tells what went wrong with it, or with its bytes.
func (s *Stream) End() error {
	s.stop()
	sent, got := <-s.sent, <-s.got
	s.out.Close()
	err := errors.Join(sent.err, got.err)
	if err == nil && !bytes.Equal(sent.sum, got.sum) {
		err = errors.New("what came out of the stream is not what went in")
	}
	return err
}
