package peer

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// relay waits for the node's allocation.
func (n *node) relay() *Relay {
	n.lab.t.Helper()
	var r *Relay
	n.lab.until(20*time.Second, "allocated", func() bool {
		for _, c := range candidates(n.underlay) {
			if c.Relay != nil {
				r = c.Relay
			}
		}
		return r != nil
	})
	return r
}

func TestCandidates(t *testing.T) {
	inLab(t, func(l *lab) {
		n, p := port(l), public(l)
		r := n.relay()
		srflx := netip.MustParseAddrPort("203.0.113.11:49152")
		want := []Candidate{
			{Type: Host, Addr: n.addr, Base: n.addr},
			{Type: ServerReflexive, Addr: srflx, Base: n.addr},
			{Type: Relayed, Addr: r.Addr(), Base: r.Addr(), Relay: r},
		}
		if got := candidates(n.underlay); !slices.Equal(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		p.relay()
		if got := candidates(p.underlay); len(got) != 2 || got[0].Type != Host || got[1].Type != Relayed {
			t.Errorf("public node has %+v, want host and relay: its reflexive address is redundant", got)
		}
		if r.Server() != hubAddr {
			t.Errorf("server %s, want %s", r.Server(), hubAddr)
		}
	})
}

func TestCredentialsDoNotDisturbTheAllocation(t *testing.T) {
	inLab(t, func(l *lab) {
		n := public(l)
		r := n.relay()
		n.underlay.SetServers([]Server{{Addr: hubAddr, Username: "other", Password: "secret"}})
		time.Sleep(5 * time.Minute)
		if got := n.relay(); got != r {
			t.Errorf("relay %s replaced by %s", r.Addr(), got.Addr())
		}
		n.underlay.SetServers(nil)
		l.until(time.Second, "given up", func() bool { return r.lost() && l.turn.AllocationCount() == 0 })
		if got := candidates(n.underlay); len(got) != 1 {
			t.Errorf("candidates %+v without a server", got)
		}
	})
}

func TestAllocationIsMadeAgain(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(symmetric(l), symmetric(l))
		k.online()
		k.connected(l, PathRelayed, time.Second)
		r := k.a.relay()
		l.stopTURN()
		l.startTURN()
		// The hub that restarts gives new credentials.
		for _, n := range []*node{k.a.node, k.b.node} {
			n.underlay.SetServers([]Server{{Addr: hubAddr, Username: "new", Password: "secret"}})
		}
		took := l.until(5*time.Second, "allocated anew", func() bool { return k.a.relay() != r && r.lost() })
		t.Logf("allocated anew %v after the server's restart", took)
		took = l.until(time.Second, "data passes", func() bool {
			k.a.sendData("again")
			return k.b.received("again")
		})
		t.Logf("data passes %v later", took)
		if err := r.Send([]byte("x"), hubAddr); err == nil {
			t.Error("a lost relay took a packet")
		}
	})
}

func TestLossOfAllocationIsNoticed(t *testing.T) {
	tests := []struct {
		name   string
		silent time.Duration // how long the server does not answer
		within time.Duration
	}{
		{"in passing", 0, verifyEvery + 2*verifyFor},
		{"after a silence", 40 * time.Second, 2*verifyFor + 8*time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				n := public(l)
				r := n.relay()
				l.lose(toHub)
				l.stopTURN()
				time.Sleep(tt.silent)
				if r.lost() {
					t.Error("the allocation was given up while its server was out of reach")
				}
				l.startTURN()
				l.lose(nil)
				took := l.until(tt.within, "allocated anew", func() bool { return r.lost() && n.relay() != r })
				t.Logf("allocated anew after %v", took)
			})
		})
	}
}

// A node that was killed comes back on its old port, where the server still
// holds an allocation for it.
func TestAllocationOfEarlierRunIsReleased(t *testing.T) {
	inLab(t, func(l *lab) {
		n := l.behind(nil)
		r := n.relay()
		n.mute.Store(true) // nothing tells the server that this run ends
		n.underlay.SetServers(nil)
		l.until(time.Second, "ended", func() bool { return r.lost() })
		n.mute.Store(false)
		n.underlay.SetServers([]Server{{Addr: hubAddr, Username: "next-run", Password: "secret"}})
		if again := n.relay(); again.Addr() == r.Addr() || again.Addr().Addr() != hubAddr.Addr() {
			t.Errorf("relay %s, where the old one was %s", again.Addr(), r.Addr())
		}
	})
}

// isBind says whether b is a ChannelBind request for the address.
func isBind(b []byte, to netip.AddrPort) bool {
	m := stun.Message{Raw: bytes.Clone(b)}
	if !isSTUN(b) || m.Decode() != nil || m.Type != stun.NewType(stun.MethodChannelBind, stun.ClassRequest) {
		return false
	}
	peer, err := addressOf(&m, stun.AttrXORPeerAddress)
	return err == nil && peer == to
}

func TestDeadDestinationStallsNoOther(t *testing.T) {
	inLab(t, func(l *lab) {
		dead, alive := netip.MustParseAddrPort("203.0.113.250:9"), public(l)
		n := public(l)
		r := n.relay()
		l.lose(func(_, to netip.AddrPort, b []byte) bool { return to == hubAddr && isBind(b, dead) })
		start := time.Now()
		for range 10 * maxQueue {
			_ = r.Send([]byte{4, 0, 0, 0, 'd'}, dead)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("sending blocked for %v", d)
		}
		if err := r.Send([]byte{4, 0, 0, 0, 'd'}, dead); err == nil {
			t.Error("a full queue took a packet")
		}
		if err := r.Send(append([]byte{4, 0, 0, 0}, "alive"...), alive.addr); err != nil {
			t.Fatal(err)
		}
		l.until(100*time.Millisecond, "received", func() bool { return alive.received("alive") })
	})
}

func TestUnderlayEndsBeforeItsServerAnswers(t *testing.T) {
	inLab(t, func(l *lab) {
		l.lose(toHub)
		n := public(l)
		stop := l.run(NewUnderlay(UnderlayConfig{Socket: n, Port: nodePort}).Run)
		stop()
		u := NewUnderlay(UnderlayConfig{Socket: n, Port: nodePort})
		u.SetServers([]Server{{Addr: hubAddr, Username: "u", Password: "p"}})
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if err := u.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("run ended after %v, want when the context did", d)
		}
	})
}

func candidates(u *Underlay) []Candidate {
	cs, _ := u.Gathered()
	return cs
}
