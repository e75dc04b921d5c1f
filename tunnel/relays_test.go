package tunnel

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
)

// TestResolveRelays: addresses need no resolver and are told once; the hub's
// relays stand behind the machine's own.
func TestResolveRelays(t *testing.T) {
	n := &Node{
		log: slog.New(slog.DiscardHandler), calls: make(chan func()),
		tunnel: &device{underlay: peer.NewUnderlay(peer.UnderlayConfig{Port: 1})},
		cfg: Config{Progress: func(line string) { t.Errorf("progress %q", line) }, Relays: []config.Relay{
			{Host: "198.51.100.9", Transport: config.RelayUDP, Port: 3479, Username: "u", Password: "p"}, {Host: "2001:db8::9", Transport: config.RelayUDP, Port: 1},
		}},
		hubRelays: []peer.Server{{Addr: netip.MustParseAddrPort("192.0.2.1:3478")}},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	moved, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); n.resolveRelays(ctx, moved) }()
	select {
	case call := <-n.calls:
		call()
	case <-ctx.Done():
		t.Fatal("nothing was told")
	}
	want := []peer.Server{
		{Addr: netip.MustParseAddrPort("198.51.100.9:3479"), Username: "u", Password: "p"},
		{Addr: netip.MustParseAddrPort("[2001:db8::9]:1")},
	}
	if !slices.Equal(n.ownRelays, want) {
		t.Errorf("got  %+v\nwant %+v", n.ownRelays, want)
	}
	if got := relayStatus(n.tunnel.underlay.Relays()); len(got) != 3 || got[0].Server != "192.0.2.1:3478" || got[0].RTT != nil || got[0].Held {
		t.Errorf("relays %+v", got)
	}
	for range 3 { // looked up again, to the same
		select {
		case moved <- struct{}{}:
		case <-n.calls:
			t.Error("told twice")
		case <-ctx.Done():
			t.Fatal("the network's changes are not taken")
		}
	}
	cancel()
	<-done
}

func TestLookup(t *testing.T) {
	for host, want := range map[string][]netip.Addr{
		"192.0.2.1":        {netip.MustParseAddr("192.0.2.1")},
		"::ffff:192.0.2.1": {netip.MustParseAddr("192.0.2.1")},
		"2001:db8::1":      {netip.MustParseAddr("2001:db8::1")},
	} {
		if got, err := lookup(t.Context(), host); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", host, got, err, want)
		}
	}
	if got, err := lookup(t.Context(), "localhost"); err == nil {
		for i, a := range got {
			if !a.IsLoopback() || i > 1 {
				t.Errorf("localhost is %v, want one loopback address of each family at most", got)
			}
		}
	}
}

// A hub can have a node connect to no place that a server could not be at.
func TestRelayOfTheHubsIsElsewhere(t *testing.T) {
	n := &Node{tunnel: &device{underlay: peer.NewUnderlay(peer.UnderlayConfig{Port: 1})}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	r := config.Relay{Host: at.Addr().String(), Port: at.Port(), Transport: config.RelayTCP}
	if c, err := n.dialNamed(r)(t.Context(), "tcp", at.String()); err == nil {
		c.Close()
		t.Error("it connects to a port of this machine")
	}
	c, err := n.dial(t.Context(), "tcp", at.String()) // this machine's own choice may be here
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
