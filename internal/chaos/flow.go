package main

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
)

// flow is datagrams that one machine sends another all the time, and nobody
// answers. The kernel notes when they arrive. Close it.
type flow struct {
	out, in *net.UDPConn
	every   time.Duration
	stop    chan struct{}
	running sync.WaitGroup

	mu   sync.Mutex // guards what follows
	sent []time.Time
	got  []time.Time
}

// startFlow begins one with such an interval.
func startFlow(from, to *place, every time.Duration) (*flow, error) {
	f := &flow{every: every, stop: make(chan struct{})}
	var err error
	if f.in, err = to.node.Host.ListenUDP(netip.AddrPort{}); err != nil {
		return nil, err
	}
	if f.out, err = from.node.Host.ListenUDP(netip.AddrPort{}); err == nil {
		err = e2e.Stamp(f.in)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	target := netip.AddrPortFrom(to.addr, f.in.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	f.running.Go(func() { f.send(target) })
	f.running.Go(f.receive)
	return f, nil
}

func (f *flow) close() {
	close(f.stop)
	f.in.Close()
	if f.out != nil {
		f.out.Close()
	}
	f.running.Wait()
}

// send sends at fixed times. What the machine does not take is lost: there may
// be no route, or a stopped daemon's queue is full.
func (f *flow) send(to netip.AddrPort) {
	b := make([]byte, 64)
	pace := time.NewTicker(f.every)
	defer pace.Stop()
	for {
		now := time.Now()
		f.mu.Lock()
		f.sent = append(f.sent, now)
		f.mu.Unlock()
		f.out.SetWriteDeadline(now.Add(interval / 4))
		_, _ = f.out.WriteToUDPAddrPort(b, to)
		select {
		case <-pace.C:
		case <-f.stop:
			return
		}
	}
}

func (f *flow) receive() {
	buf, oob := make([]byte, 128), make([]byte, 128)
	for {
		_, n, _, _, err := f.in.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			return
		}
		at, err := e2e.Stamped(oob[:n])
		if err != nil {
			at = time.Now()
		}
		f.mu.Lock()
		f.got = append(f.got, at)
		f.mu.Unlock()
	}
}

// soFar is what was sent and what came.
func (f *flow) soFar() (sent, got []time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent), slices.Clone(f.got)
}

// quiet is how long nothing has come.
func (f *flow) quiet() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got) == 0 {
		return time.Hour
	}
	return time.Since(f.got[len(f.got)-1])
}
