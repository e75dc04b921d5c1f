package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// FirstPing sends echo requests from the node to an address inside the tunnel,
// one each 10 ms, until one is answered.
func (n *Node) FirstPing(ctx context.Context, to netip.Addr) error {
	conn, err := n.pinger(to)
	if err != nil {
		return err
	}
	defer conn.Close()
	for seq := 1; ; seq++ {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: no answer from %v: %w", n.Name, to, ctx.Err())
		}
		if err := request(conn, to, seq); err != nil {
			return err
		}
		if answered(conn, to, time.Now().Add(10*time.Millisecond)) {
			return nil
		}
	}
}

func (n *Node) pinger(to netip.Addr) (conn *icmp.PacketConn, err error) {
	network, any := "ip4:icmp", "0.0.0.0"
	if to.Is6() {
		network, any = "ip6:ipv6-icmp", "::"
	}
	err = n.Host.Do(func() error {
		conn, err = icmp.ListenPacket(network, any)
		return err
	})
	return conn, err
}

// request sends one echo request. That it does not leave is no error: there may
// be no route yet.
func request(conn *icmp.PacketConn, to netip.Addr, seq int) error {
	var kind icmp.Type = ipv4.ICMPTypeEcho
	if to.Is6() {
		kind = ipv6.ICMPTypeEchoRequest
	}
	m := icmp.Message{Type: kind, Body: &icmp.Echo{ID: 77, Seq: seq, Data: make([]byte, 32)}}
	b, err := m.Marshal(nil)
	if err != nil {
		return err
	}
	conn.WriteTo(b, &net.IPAddr{IP: to.AsSlice()})
	return nil
}

// answered reads until an echo reply comes from the address, or the deadline.
func answered(conn *icmp.PacketConn, from netip.Addr, deadline time.Time) bool {
	conn.SetReadDeadline(deadline)
	buf := make([]byte, 1500)
	for {
		size, addr, err := conn.ReadFrom(buf)
		if err != nil {
			return false
		}
		protocol := ipv4.ICMPTypeEchoReply.Protocol()
		if from.Is6() {
			protocol = ipv6.ICMPTypeEchoReply.Protocol()
		}
		m, err := icmp.ParseMessage(protocol, buf[:size])
		if err != nil || addr.String() != from.String() {
			continue
		}
		if m.Type == ipv4.ICMPTypeEchoReply || m.Type == ipv6.ICMPTypeEchoReply {
			return true
		}
	}
}

// Transfer is one file copied over TCP.
type Transfer struct {
	Bytes int
	Took  time.Duration
	Sum   [sha256.Size]byte // the same at both ends
}

// Send copies size random bytes from the node to another's address inside the
// tunnel, and compares checksums.
func (n *Node) Send(ctx context.Context, to *Node, addr netip.Addr, size int) (*Transfer, error) {
	data := make([]byte, size)
	rand.Read(data)
	l, err := to.Host.ListenTCP(netip.AddrPortFrom(addr, 0))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	got := make(chan received, 1)
	go func() { got <- receive(ctx, l) }()
	start := time.Now()
	conn, err := n.Host.DialTCP(ctx, l.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.Copy(conn, bytes.NewReader(data)); err != nil {
		return nil, fmt.Errorf("%s to %s: %w", n.Name, to.Name, err)
	}
	conn.CloseWrite()
	r := <-got
	if r.err != nil {
		return nil, fmt.Errorf("%s from %s: %w", to.Name, n.Name, r.err)
	}
	if want := sha256.Sum256(data); r.sum != want || r.bytes != size {
		return nil, fmt.Errorf("%s to %s: %d of %d bytes, checksum %x, want %x", n.Name, to.Name, r.bytes, size, r.sum, want)
	}
	return &Transfer{size, time.Since(start), r.sum}, nil
}

type received struct {
	bytes int
	sum   [sha256.Size]byte
	err   error
}

func receive(ctx context.Context, l *net.TCPListener) received {
	conn, err := l.Accept()
	if err != nil {
		return received{err: err}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	h := sha256.New()
	n, err := io.Copy(h, conn)
	return received{int(n), [sha256.Size]byte(h.Sum(nil)), err}
}
