package signaling_test

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/signaling/hub"
)

// turns counts how often a connection waited for the other end before it went on.
type turns struct {
	net.Conn
	n    *atomic.Int32
	read bool // since the last write
}

func (c *turns) Write(b []byte) (int, error) {
	if c.read {
		c.n.Add(1)
	}
	c.read = false
	return c.Conn.Write(b)
}

func (c *turns) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read = true
	return n, err
}

// From the first SYN to the first signal that a node can send there are three round
// trips: TCP's, TLS's, and one for the request and the hello. So the signal has
// passed the hub half a round trip later.
func TestRoundTripsToTheFirstSignal(t *testing.T) {
	h, err := hub.New(hub.Config{
		Listen: "127.0.0.1:0", TURNListen: ":0", State: t.TempDir(), PublicAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	done := make(chan error, 2)
	go func() { done <- h.Run(ctx) }()
	defer func() { cancel(); <-done; <-done }()

	var n atomic.Int32
	welcomed := make(chan int32, 1)
	network, node := config.NewNetworkKey(), config.NewNodeKey()
	r := signaling.Record{Node: node.Public(), Sequence: 1, Name: "n", IPv4: netip.MustParseAddr("10.70.0.1")}
	rand.Read(r.WireGuard[:])
	rand.Read(r.Sealing[:])
	record, err := signaling.NetworkAdmin(network).Record(r)
	if err != nil {
		t.Fatal(err)
	}
	link := h.Link()
	c := signaling.NewClient(signaling.ClientConfig{
		Hub: link.Hub, Network: network.Public(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Self: &signaling.Self{Network: network.Public().ID(), Node: node, Epoch: 1},
		Credential: func() signaling.Credential {
			return signaling.Credential{Proof: [][]byte{record.Bytes()}, Access: link.Access[:]}
		},
		Handle: func(m signaling.Message) {
			switch m := m.(type) {
			case *signaling.Welcome:
				welcomed <- n.Load()
			case *signaling.Down:
				t.Errorf("%v", m.Err)
				cancel()
			}
		},
	})
	c.SetDial(func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &turns{Conn: conn, n: &n}, err
	})
	go func() { done <- c.Run(ctx) }()
	// The first turn is the end of TLS with the request; the answer to that is the
	// welcome. TCP's round trip, which is not seen here, makes three.
	select {
	case got := <-welcomed:
		if got != 1 {
			t.Errorf("welcomed after %d turns, want 1: that are %d round trips", got, got+2)
		}
	case <-ctx.Done():
		t.Error("not welcomed")
	}
}
