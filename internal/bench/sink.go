package main

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// joinedSize is the longest run of datagrams that the kernel joins (UDP_GRO).
const joinedSize = 1 << 16

// sink counts the packets that come. Each has a number behind its header, so
// none counts twice; those with 0 do not count.
type sink struct {
	conn   *net.UDPConn
	size   int  // of a packet
	header int  // before the number
	joined bool // lets the kernel join packets
}

// stream has packets sent for a warm-up and then for what counts, and returns
// when the last can be thought lost. send sends for so many seconds, and counts
// and numbers what it sends if there is a counter. counted is called at the
// beginning and at the end of what counts, if not nil.
func (k sink) stream(send func(seconds float64, counter *int) error, warmUp, seconds float64, counted func() error) (s stream, err error) {
	if err := setOption(k.conn, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, sinkBuffer); err != nil {
		return s, err
	}
	if k.joined {
		if err := setOption(k.conn, unix.SOL_UDP, unix.UDP_GRO, 1); err != nil {
			return s, err
		}
	}
	type result struct {
		received int
		err      error
	}
	done := make(chan result, 1)
	go func() {
		n, err := k.count()
		done <- result{n, err}
	}()
	if counted == nil {
		counted = func() error { return nil }
	}
	err = errors.Join(send(warmUp, nil), counted())
	if err == nil {
		start := time.Now()
		err = send(seconds, &s.sent)
		s.took = time.Since(start)
		err = errors.Join(err, counted())
	}
	k.conn.SetReadDeadline(time.Now()) // see count
	r := <-done
	s.received = r.received
	return s, errors.Join(err, r.err)
}

// count reads until the deadline that is set on the socket has passed, and
// then until nothing has come for a while: a busy machine is slow to deliver,
// and an expired deadline hides what is there.
func (k sink) count() (received int, err error) {
	raw, err := k.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	size := k.size
	if k.joined {
		size = joinedSize
	}
	b := newBatch(batchSize, size)
	var seen bitmap
	idle := false // since the last deadline
	for {
		n, err := b.receive(raw)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if idle {
				return received, nil
			}
			idle = true
			k.conn.SetReadDeadline(time.Now().Add(quiet))
			continue
		}
		if err != nil {
			return received, err
		}
		idle = false
		for i := range n {
			content, each := b.bufs[i][:b.size(i)], b.segmentSize(i)
			for ; len(content) >= k.header+8; content = content[min(each, len(content)):] {
				if number := binary.BigEndian.Uint64(content[k.header:]); number > 0 && seen.add(number) {
					received++
				}
			}
		}
	}
}

// setOption sets a socket option.
func setOption(c *net.UDPConn, level, option, value int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, value) })
	return errors.Join(controlErr, err)
}
