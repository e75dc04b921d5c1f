package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// Sizes of what a load writes and reads at once, in bytes: large, so that the
// load itself costs little beside what it loads.
const (
	writeSize = 128 << 10
	readSize  = 256 << 10
)

// bulk is TCP streams that run until stop.
type bulk struct {
	received atomic.Int64 // bytes, by the application
	conns    []net.Conn
	running  sync.WaitGroup
}

// startBulk starts streams between the hosts, to an address of the second.
func startBulk(ctx context.Context, from, to *natlab.Host, addr netip.Addr, streams int) (*bulk, error) {
	b := new(bulk)
	l, err := to.ListenTCP(netip.AddrPortFrom(addr, 0))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	for range streams {
		out, err := from.DialTCP(ctx, l.Addr().(*net.TCPAddr).AddrPort())
		if err != nil {
			b.stop()
			return nil, fmt.Errorf("%s to %s: %w", from.Name(), to.Name(), err)
		}
		out.SetLinger(0) // what is on its way at the end is nobody's
		b.conns = append(b.conns, out)
		in, err := l.Accept()
		if err != nil {
			b.stop()
			return nil, err
		}
		b.conns = append(b.conns, in)
		b.running.Go(func() { b.write(out) })
		b.running.Go(func() { b.read(in) })
	}
	return b, nil
}

func (b *bulk) write(w io.Writer) {
	buf := make([]byte, writeSize)
	for {
		if _, err := w.Write(buf); err != nil {
			return // stop
		}
	}
}

func (b *bulk) read(r io.Reader) {
	buf := make([]byte, readSize)
	for {
		n, err := r.Read(buf)
		b.received.Add(int64(n))
		if err != nil {
			return // stop
		}
	}
}

// stop ends the streams and returns when they have ended.
func (b *bulk) stop() {
	for _, c := range b.conns {
		c.Close()
	}
	b.running.Wait()
}
