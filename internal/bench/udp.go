package main

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"golang.org/x/sys/unix"
)

const (
	// ipUDPHeaders is what a packet holds besides its payload (IPv4).
	ipUDPHeaders = 28

	// sinkBuffer is large enough for the sink to be the last that loses.
	sinkBuffer = 32 << 20

	// quiet is how long nothing may arrive until nothing will.
	quiet = 100 * time.Millisecond

	// pace is how long a sender with a rate sleeps when nothing is due.
	pace = 200 * time.Microsecond
)

// stream is UDP packets that one side has sent and the other has counted.
type stream struct {
	sent, received int // of those that count
	took           time.Duration
}

func (s stream) loss() float64 { return 1 - float64(s.received)/float64(max(s.sent, 1)) }
func (s stream) rate() float64 { return float64(s.received) / s.took.Seconds() }

// load is a stream to be sent: packets of a size, headers included, per
// second, or as many as can be.
type load struct {
	from, to *natlab.Host
	addr     netip.Addr
	size     int
	rate     float64 // packets per second; +Inf: no limit
	warmUp   float64 // seconds
	seconds  float64
}

// unlimited is the rate of a load that takes what it gets.
var unlimited = math.Inf(1)

// stream sends the load and returns when the last packet can be thought lost.
// counted is called at the beginning and at the end of what counts, if not nil.
func (l load) stream(ctx context.Context, counted func() error) (s stream, err error) {
	in, err := l.to.ListenUDP(netip.AddrPortFrom(l.addr, 0))
	if err != nil {
		return s, err
	}
	defer in.Close()
	out, err := dialUDP(l.from, addrPort(in.LocalAddr()))
	if err != nil {
		return s, err
	}
	defer out.Close()
	send := func(seconds float64, counter *int) error { return l.send(ctx, out, seconds, counter) }
	return sink{conn: in, size: l.size - ipUDPHeaders}.stream(send, l.warmUp, l.seconds, counted)
}

// send sends for a while; counter counts the packets, nil if they do not.
func (l load) send(ctx context.Context, out *net.UDPConn, seconds float64, counter *int) error {
	raw, err := out.SyscallConn()
	if err != nil {
		return err
	}
	b := newBatch(batchSize, l.size-ipUDPHeaders)
	sent := 0
	for start := time.Now(); ctx.Err() == nil; {
		past := time.Since(start).Seconds()
		if past >= seconds {
			return nil
		}
		n := batchSize
		if due := past*l.rate - float64(sent); due < float64(n) {
			n = int(due)
		}
		if n == 0 {
			time.Sleep(pace)
			continue
		}
		if counter != nil {
			for i := range n {
				binary.BigEndian.PutUint64(b.bufs[i], uint64(*counter+i+1))
			}
		}
		n, err := b.send(raw, n)
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
		sent += n
		if counter != nil {
			*counter += n
		}
	}
	return ctx.Err()
}

// bitmap is a set of small numbers.
type bitmap []uint64

// add adds a number and says whether it is new.
func (m *bitmap) add(number uint64) bool {
	word, bit := number/64, uint64(1)<<(number%64)
	for uint64(len(*m)) <= word {
		*m = append(*m, 0)
	}
	known := (*m)[word]&bit != 0
	(*m)[word] |= bit
	return !known
}

// dialUDP connects a socket of the host's.
func dialUDP(h *natlab.Host, to netip.AddrPort) (conn *net.UDPConn, err error) {
	err = h.Do(func() error {
		conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	return conn, err
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.UDPAddr).AddrPort() }
