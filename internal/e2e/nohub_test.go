package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
)

// The goals without a hub: a machine that starts, and one whose address changes,
// until packets pass again.
const (
	noHubStartGoal  = 3 * time.Second
	noHubChangeGoal = time.Second
)

// newNoHub brings up nodes in such places, connected to each other, and kills the
// hub.
func newNoHub(t *testing.T, places ...string) (*setup, []*Node) {
	t.Helper()
	s := newSetup(t)
	var nodes []*Node
	for i, place := range places {
		nodes = append(nodes, s.rig.Node(s.place(place, string(rune('a'+i)))))
	}
	s.joinAll(nodes)
	s.killHub(nodes...)
	return s, nodes
}

// joinAll makes a network of nodes, and waits until each is connected to each.
func (s *setup) joinAll(nodes []*Node) {
	s.t.Helper()
	s.create(nodes[0])
	for _, n := range nodes[1:] {
		if _, err := n.Up(s.ctx, s.invite(nodes[0])); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, n := range nodes {
		for _, other := range nodes {
			if n != other {
				if err := s.waitPath(n, other, peer.PathDirect, time.Now().Add(5*time.Second)); err != nil {
					s.t.Fatal(err)
				}
			}
		}
	}
}

// killHub kills the hub, and waits until the nodes have noticed.
func (s *setup) killHub(nodes ...*Node) {
	s.t.Helper()
	s.hub.Signal(os.Kill)
	s.hub.Wait()
	for _, n := range nodes {
		if err := s.waitHub(n, false); err != nil {
			s.t.Fatal(err)
		}
	}
}

// within pings until an answer comes, and checks how long that took since start.
func (s *setup) within(goal time.Duration, start time.Time, from *Node, i int) {
	s.t.Helper()
	if err := from.FirstPing(s.ctx, address(i)); err != nil {
		s.t.Fatal(err)
	}
	took := time.Since(start)
	s.t.Logf("%s reaches number %d after %v", from.Name, i, took.Round(time.Millisecond))
	if took > goal {
		s.t.Errorf("%s reaches number %d after %v, want at most %v", from.Name, i, took, goal)
	}
}

// TestStartWithoutHub: a machine that is started while there is no hub reaches the
// others, and they reach it.
func TestStartWithoutHub(t *testing.T) {
	t.Parallel()
	s, nodes := newNoHub(t, "full", "port")
	s.must(nodes[1], "down")
	s.startsAlone(nodes[0], nodes[1])
}

// TestKilledWithoutHub: the same for one that had no time to say or write anything.
func TestKilledWithoutHub(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	a, b := s.rig.Node(s.place("full", "a")), s.rig.Node(s.place("port", "b"))
	p, err := b.StartUp(s.ctx, s.create(a))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.waitPath(b, a, peer.PathDirect, time.Now().Add(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	for known := filepath.Join(b.State(), "peers.json"); !exists(known); { // it is written seldom
		if s.ctx.Err() != nil {
			t.Fatal("b does not write where a is")
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.killHub(a, b)
	p.Signal(os.Kill)
	p.Wait()
	s.startsAlone(a, b)
}

// startsAlone starts b, the second machine, and has it meet a.
func (s *setup) startsAlone(a, b *Node) {
	s.t.Helper()
	start := time.Now()
	if _, err := b.Up(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("up after %v", time.Since(start).Round(time.Millisecond))
	s.within(noHubStartGoal, start, b, 0)
	s.within(noHubStartGoal, start, a, 1)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestMoveWithoutHub: a machine whose address changes while there is no hub is
// found again, by the side whose NAT lets it, or through a third that both talk
// to.
func TestMoveWithoutHub(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		places []string
		moves  int
	}{
		{"full, address moves", []string{"full", "address"}, 1},
		{"full moves, address", []string{"full", "address"}, 0},
		{"port, port moves, a third", []string{"port", "port", "public"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, nodes := newNoHub(t, tt.places...)
			if err := nodes[tt.moves].Host.Renumber(); err != nil {
				t.Fatal(err)
			}
			s.within(noHubChangeGoal, time.Now(), nodes[1-tt.moves], tt.moves)
		})
	}
}

// TestWakeWithoutHub: the first packet wakes an idle peer without the hub, too.
func TestWakeWithoutHub(t *testing.T) {
	t.Parallel()
	s, nodes := newLazySetup(t, time.Minute, "public", "port")
	s.burst(nodes[1], nodes[0], address(0))
	s.waitIdle(nodes[0], nodes[1])
	s.waitIdle(nodes[1], nodes[0])
	s.killHub(nodes...)
	s.burst(nodes[1], nodes[0], address(0))
}

// TestLANWithoutHub: machines on one LAN find each other without a hub, though each
// has another address than when they met; those that are told not to do not.
func TestLANWithoutHub(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"--no-lan"}} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			home := natlab.Must(s.rig.Lab.NAT("home", natlab.PortRestricted))
			nodes := []*Node{s.rig.Node(natlab.Must(home.Host("a"))), s.rig.Node(natlab.Must(home.Host("b")))}
			s.joinAll(nodes)
			for _, n := range nodes {
				s.must(n, "down")
			}
			s.killHub()
			for _, n := range nodes {
				if err := n.Host.Renumber(); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			for _, n := range nodes {
				if _, err := n.Up(s.ctx, args...); err != nil {
					t.Fatal(err)
				}
			}
			if args == nil {
				s.within(noHubStartGoal, start, nodes[0], 1)
				s.within(noHubStartGoal, start, nodes[1], 0)
				return
			}
			ctx, cancel := context.WithTimeout(s.ctx, 3*time.Second)
			defer cancel()
			if err := nodes[0].FirstPing(ctx, address(1)); err == nil {
				t.Error("they have found each other")
			}
		})
	}
}
