package first

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

const (
	pingEvery = 5 * time.Millisecond
	pingFor   = 30 * time.Second
)

// pinger sends echo requests from a host.
type pinger struct {
	conn *icmp.PacketConn
	to   netip.Addr
}

func newPinger(from *natlab.Host, to netip.Addr) (p *pinger, err error) {
	p = &pinger{to: to}
	err = from.Do(func() error {
		p.conn, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	return p, err
}

func (p *pinger) close() { p.conn.Close() }

// send sends one request. That it does not leave is no error: there may be no
// route yet.
func (p *pinger) send(seq int) error {
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 78, Seq: seq, Data: make([]byte, 32)}}
	b, err := m.Marshal(nil)
	if err != nil {
		return err
	}
	p.conn.WriteTo(b, &net.IPAddr{IP: p.to.AsSlice()})
	return nil
}

// wait reads until a reply comes, or the deadline, and says which it was; 0: none.
func (p *pinger) wait(deadline time.Time) (seq int) {
	p.conn.SetReadDeadline(deadline)
	buf := make([]byte, 1500)
	for {
		size, from, err := p.conn.ReadFrom(buf)
		if err != nil {
			return 0
		}
		m, err := icmp.ParseMessage(ipv4.ICMPTypeEchoReply.Protocol(), buf[:size])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply || from.String() != p.to.String() {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok {
			return e.Seq
		}
	}
}

// until sends requests until one is answered, and returns when that was.
func (p *pinger) until(ctx context.Context) (time.Time, error) {
	for seq := 1; seq < int(pingFor/pingEvery); seq++ {
		if ctx.Err() != nil {
			return time.Time{}, ctx.Err()
		}
		if err := p.send(seq); err != nil {
			return time.Time{}, err
		}
		if p.wait(time.Now().Add(pingEvery)) > 0 {
			return time.Now(), nil
		}
	}
	return time.Time{}, fmt.Errorf("no answer from %v in %v", p.to, pingFor)
}

// one sends a single request and returns how long its answer took.
func (p *pinger) one() (time.Duration, error) {
	start := time.Now()
	if err := p.send(1); err != nil {
		return 0, err
	}
	if p.wait(start.Add(pingFor)) == 0 {
		return 0, fmt.Errorf("the packet to %v was lost", p.to)
	}
	return time.Since(start), nil
}

// roundTrip is the best of some pings between addresses of the underlay.
func roundTrip(ctx context.Context, from *natlab.Host, to netip.Addr) (time.Duration, error) {
	p, err := newPinger(from, to)
	if err != nil {
		return 0, err
	}
	defer p.close()
	best := pingFor
	for range 3 {
		took, err := p.one()
		if err != nil {
			return 0, err
		}
		best = min(best, took)
	}
	return best, ctx.Err()
}
