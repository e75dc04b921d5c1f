package peer

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
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
		l.until(time.Second, "given up", func() bool { return r.lost() })
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

// The lanes renew their permissions: here nothing else does, since no channel
// is ever bound.
func TestPermissionsAreRenewed(t *testing.T) {
	inLab(t, func(l *lab) {
		n, to := public(l), public(l)
		r := n.relay()
		l.lose(func(_, to netip.AddrPort, b []byte) bool {
			m := stun.Message{Raw: b}
			return to == hubAddr && isSTUN(b) && m.Decode() == nil && m.Type.Method == stun.MethodChannelBind
		})
		for i := range 15 * 6 {
			payload := strconv.Itoa(i)
			_ = r.Send(append([]byte{4, 0, 0, 0}, payload...), to.addr)
			time.Sleep(10 * time.Second)
			if !to.received(payload) {
				t.Fatalf("packet %d, after %v, is lost", i, time.Duration(i)*10*time.Second)
			}
		}
	})
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
		if again := n.relay(); again.Addr() == r.Addr() {
			t.Errorf("relay %s is the old one", again.Addr())
		}
	})
}

func TestDeadDestinationStallsNoOther(t *testing.T) {
	inLab(t, func(l *lab) {
		dead, alive := netip.MustParseAddrPort("203.0.113.250:9"), public(l)
		n := public(l)
		r := n.relay()
		l.lose(func(_, to netip.AddrPort, b []byte) bool {
			m := stun.Message{Raw: b}
			if to != hubAddr || !isSTUN(b) || m.Decode() != nil || m.Type.Method != stun.MethodCreatePermission {
				return false
			}
			var peer stun.XORMappedAddress
			return peer.GetFromAs(&m, stun.AttrXORPeerAddress) == nil && peer.IP.Equal(dead.Addr().AsSlice())
		})
		start := time.Now()
		for range 10 * laneQueue {
			_ = r.Send([]byte{4, 0, 0, 0, 'd'}, dead)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("sending blocked for %v", d)
		}
		if err := r.Send([]byte{4, 0, 0, 0, 'd'}, dead); err == nil {
			t.Error("a full lane took a packet")
		}
		if err := r.Send(append([]byte{4, 0, 0, 0}, "alive"...), alive.addr); err != nil {
			t.Fatal(err)
		}
		l.until(time.Second, "received", func() bool { return alive.received("alive") })
	})
}

func TestLanesEndAndAreBounded(t *testing.T) {
	inLab(t, func(l *lab) {
		n := public(l)
		r := n.relay()
		lanes := func() int { r.mu.Lock(); defer r.mu.Unlock(); return len(r.lanes) }
		for i := range maxLanes + 10 {
			_ = r.Send([]byte{4, 0, 0, 0}, netip.AddrPortFrom(netip.MustParseAddr("203.0.113.200"), uint16(1+i)))
		}
		if got := lanes(); got != maxLanes {
			t.Errorf("%d lanes, want %d", got, maxLanes)
		}
		time.Sleep(laneIdle + time.Minute)
		if got := lanes(); got != 0 {
			t.Errorf("%d lanes after a minute without packets", got)
		}
		if err := r.Send([]byte{4}, netip.MustParseAddrPort("[2001:db8::1]:1")); err == nil {
			t.Error("an IPv4 relay took a packet for an IPv6 address")
		}
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
