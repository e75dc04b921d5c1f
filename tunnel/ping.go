package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/p2ptun/p2ptun/peer"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// Pong is one reply to a ping, or its loss.
type Pong struct {
	Name     string         `json:"name"`
	Address  netip.Addr     `json:"address"`
	Sequence int            `json:"sequence"`
	RTT      float64        `json:"rtt_ms"`
	Lost     bool           `json:"lost"`
	Path     peer.PathKind  `json:"path"`
	Remote   EndpointStatus `json:"remote"`
}

// pingTimeout is how long a reply may take.
const pingTimeout = 5 * time.Second

// Ping sends count echo requests (RFC 792) through the tunnel to the member of
// that name, one each interval, and hands on each reply. It is safe for
// concurrent use. It fails for an unknown name.
func (n *Node) Ping(ctx context.Context, name string, count int, interval time.Duration, reply func(Pong)) error {
	to, err := n.pingTarget(ctx, name)
	if err != nil {
		return err
	}
	conn, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	id := rand.IntN(1 << 16)
	for seq := 1; seq <= count; seq++ {
		sent := time.Now()
		lost := echo(conn, to, id, seq) != nil
		rtt := time.Since(sent)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p := Pong{Name: name, Address: to, Sequence: seq, RTT: float64(rtt.Microseconds()) / 1000, Lost: lost}
		n.pingPath(ctx, name, &p)
		reply(p)
		if seq < count {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(interval - time.Since(sent)):
			}
		}
	}
	return nil
}

// pingTarget finds the address of a name.
func (n *Node) pingTarget(ctx context.Context, name string) (netip.Addr, error) {
	var to netip.Addr
	err := n.do(ctx, func() error {
		if n.tunnel == nil {
			return errors.New("the tunnel is not up yet: this machine is still joining")
		}
		rec, ok := n.roster.ByName(name)
		if !ok {
			return fmt.Errorf("no member of the network has the name %q", name)
		}
		to = rec.IPv4
		return nil
	})
	return to, err
}

// pingPath fills in what carried the reply.
func (n *Node) pingPath(ctx context.Context, name string, p *Pong) {
	p.Path = peer.PathNone
	if p.Lost {
		return
	}
	n.do(ctx, func() error {
		for _, m := range n.active {
			if m.record.Name == name {
				s := m.session.Snapshot()
				p.Path, p.Remote = s.Path, endpointStatus(s.Remote)
			}
		}
		return nil
	})
}

// echo sends one request and waits for its reply.
func echo(conn *icmp.PacketConn, to netip.Addr, id, seq int) error {
	request := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq, Data: make([]byte, 56)}}
	b, err := request.Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(b, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	conn.SetReadDeadline(time.Now().Add(pingTimeout))
	for {
		size, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		m, err := icmp.ParseMessage(1, buf[:size])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply || from.String() != to.String() {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == id && e.Seq == seq {
			return nil
		}
	}
}
