package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
)

// withhold keeps statements from passing the hub, either way.
func (l *hostileLab) withhold(held func(s *seat, up bool, st *signaling.Statement) bool) tamper {
	network := l.network.Public()
	return func(s *seat, up bool, m signaling.Message) []signaling.Message {
		if members, ok := m.(*signaling.Members); ok {
			members.Statements = slices.DeleteFunc(members.Statements, func(raw []byte) bool {
				st, err := signaling.ParseStatement(network, raw)
				return err == nil && held(s, up, st)
			})
		}
		return []signaling.Message{m}
	}
}

func isRevocation(_ *seat, _ bool, s *signaling.Statement) bool {
	return s.Kind == signaling.StatementRevocation
}

// hides: the hub shows b a list without the machine that joins. b has it from
// the others.
func (l *hostileLab) hides(t *testing.T) {
	b, names := l.key(l.b).Public(), l.nodes(l.b)
	l.evil.hostile(l.withhold(func(s *seat, up bool, st *signaling.Statement) bool {
		return !up && s.node == b && st.Record() != nil && names[st.Record().Name].ID == ""
	}))
	defer l.evil.hostile(nil)
	m := l.rig.Node(l.place("public", "m"))
	if _, err := m.Up(l.ctx, l.invite(l.a)); err != nil {
		t.Fatal(err)
	}
	took := l.until(t, seconds(30), "b knows m", func() bool { return l.nodes(l.b)["m"].ID != "" })
	t.Logf("b knows m after %v", took)
	ctx, cancel := context.WithTimeout(l.ctx, seconds(10))
	defer cancel()
	if err := l.b.FirstPing(ctx, l.addr(m)); err != nil {
		t.Error(err)
	}
	l.m = m
}

// gone checks that a and b have dropped a node, and that it does not reach them.
func (l *hostileLab) gone(t *testing.T, n *Node, within time.Duration) {
	t.Helper()
	for _, other := range []*Node{l.a, l.b} {
		took := l.until(t, within, other.Name+" drops "+n.Name, func() bool {
			_, err := other.Peer(l.ctx, n)
			return err != nil && l.nodes(other)[n.Name].ID == ""
		})
		t.Logf("%s drops %s after %v", other.Name, n.Name, took)
		ctx, cancel := context.WithTimeout(l.ctx, 300*time.Millisecond)
		defer cancel()
		if n.FirstPing(ctx, l.addr(other)) == nil {
			t.Errorf("%s still reaches %s", n.Name, other.Name)
		}
	}
}

// withholds: the hub keeps a revocation from everybody, and hides who is there.
// It goes from node to node.
func (l *hostileLab) withholds(t *testing.T) {
	l.evil.hostile(l.withhold(isRevocation))
	defer l.evil.hostile(nil)
	b := l.seat(l.b)
	l.seat(l.a).tell(&signaling.Presence{Offline: []config.NodeKey{b.node, l.key(l.m).Public()}})
	l.must(l.a, "revoke", "c")
	l.gone(t, l.c, seconds(1))
	l.seat(l.a).tell(&signaling.Presence{Online: []signaling.Online{b.online}})
}

// carryNothing has the hub keep back revocations, and all that machines tell
// each other.
func (l *hostileLab) carryNothing() {
	held := l.withhold(isRevocation)
	l.evil.hostile(func(s *seat, up bool, m signaling.Message) []signaling.Message {
		if _, ok := m.(*signaling.Signal); ok {
			return nil
		}
		return held(s, up, m)
	})
}

// withholdsAll: besides, the hub carries nothing that a and b tell each other.
// They do by the path of their tunnel.
func (l *hostileLab) withholdsAll(t *testing.T) {
	l.carryNothing()
	defer l.evil.hostile(nil)
	l.must(l.a, "revoke", "m")
	l.gone(t, l.m, seconds(5))
}

// TestNeighboursTell: in a network of more than a few, where most machines have
// no tunnel with each other, a revocation reaches all in a second through
// neighbours alone: the hub carries nothing of it, nor what machines tell each
// other.
func TestNeighboursTell(t *testing.T) {
	t.Parallel()
	const machines = 9
	l := &hostileLab{setup: newSetupFor(t, 2*time.Minute, "info", "--plain-http")}
	l.evil = startHostileHub(t, l.hubHost, l.hub)
	l.hub.Link = l.evil.Link
	l.a = l.rig.Node(l.place("public", "a"))
	l.create(l.a)
	if err := l.network.SetSeed(l.disk(l.a).NetworkSeed); err != nil {
		t.Fatal(err)
	}
	all := []*Node{l.a}
	for i := 1; i < machines; i++ {
		n := l.rig.Node(l.place("public", string(rune('a'+i))))
		if _, err := n.Up(l.ctx, l.invite(l.a)); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	tunnels := 0
	for _, n := range all {
		l.until(t, seconds(20), n.Name+" has a tunnel with three others", func() bool { return connected(l, n) >= 3 })
		tunnels += connected(l, n)
	}
	if tunnels/2 >= machines*(machines-1)/2 {
		t.Errorf("%d tunnels: everybody has one with everybody", tunnels/2)
	}
	t.Logf("%d tunnels among %d machines", tunnels/2, machines)

	l.carryNothing()
	defer l.evil.hostile(nil)
	out := all[machines-1]
	l.must(l.a, "revoke", out.Name)
	start := time.Now()
	for _, n := range all[:machines-1] {
		l.until(t, seconds(1), n.Name+" knows of the revocation", func() bool { return l.nodes(n)[out.Name].ID == "" })
	}
	t.Logf("all know after %v", time.Since(start).Round(time.Millisecond))
}

// connected counts the peers that a node has a tunnel with.
func connected(l *hostileLab, n *Node) (count int) {
	s, err := n.Status(l.ctx)
	if err != nil {
		return 0
	}
	for _, p := range s.Peers {
		if p.State == peer.Connected {
			count++
		}
	}
	return count
}
