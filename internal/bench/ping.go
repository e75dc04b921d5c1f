package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	pingPause = 10 * time.Millisecond // between probes
	pingLate  = time.Second           // after the last probe; a later answer is lost

	pingID     = 0x7032
	ipv4Header = 20
)

// pings sends echo requests and returns the round trips in milliseconds. The
// far kernel answers, and the near one notes when the answer came: a busy
// bench does not count as delay.
func pings(ctx context.Context, from *natlab.Host, to netip.Addr, count int) (trips []float64, err error) {
	var conn net.PacketConn
	if err := from.Do(func() error {
		conn, err = net.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	}); err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := e2e.Stamp(conn.(*net.IPConn)); err != nil {
		return nil, err
	}
	type result struct {
		trips []float64
		err   error
	}
	done := make(chan result, 1)
	go func() {
		trips, err := answers(conn.(*net.IPConn), to, count)
		done <- result{trips, err}
	}()
	tick := time.NewTicker(pingPause)
	defer tick.Stop()
	for seq := range count {
		if err = request(conn, to, seq); err != nil || ctx.Err() != nil {
			break
		}
		<-tick.C
	}
	conn.SetReadDeadline(time.Now().Add(pingLate))
	r := <-done
	if err := errors.Join(err, r.err, ctx.Err()); err != nil {
		return nil, err
	}
	if len(r.trips) == 0 {
		return nil, fmt.Errorf("none of %d pings to %v was answered", count, to)
	}
	return r.trips, nil
}

// request sends an echo request that says when it was sent.
func request(conn net.PacketConn, to netip.Addr, seq int) error {
	data := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: pingID, Seq: seq, Data: data}}
	b, err := m.Marshal(nil)
	if err == nil {
		_, err = conn.WriteTo(b, &net.IPAddr{IP: to.AsSlice()})
	}
	if errors.Is(err, unix.ENOBUFS) {
		err = nil // lost
	}
	return err
}

// answers reads until all have come or the deadline is over.
func answers(conn *net.IPConn, from netip.Addr, count int) (trips []float64, err error) {
	buf, oob := make([]byte, 1500), make([]byte, 128)
	for len(trips) < count {
		n, oobn, _, addr, err := conn.ReadMsgIP(buf, oob)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return trips, nil
		}
		if err != nil {
			return trips, err
		}
		at, err := e2e.Stamped(oob[:oobn])
		if err != nil {
			return trips, err
		}
		if n < ipv4Header || !addr.IP.Equal(from.AsSlice()) {
			continue
		}
		m, err := icmp.ParseMessage(ipv4.ICMPTypeEchoReply.Protocol(), buf[ipv4Header:n])
		if err != nil {
			continue
		}
		if echo, ok := m.Body.(*icmp.Echo); ok && m.Type == ipv4.ICMPTypeEchoReply && echo.ID == pingID && len(echo.Data) == 8 {
			trips = append(trips, float64(at.UnixNano()-int64(binary.BigEndian.Uint64(echo.Data)))/1e6)
		}
	}
	return trips, nil
}
