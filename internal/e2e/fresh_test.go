package e2e

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

// TestStatusIsFresh: a machine that stops, with all of its connections standing, is
// called connected no longer than data takes to find that out, and is again
// once it is back.
func TestStatusIsFresh(t *testing.T) {
	s := newSetup(t)
	a, b := s.rig.Node(s.place("public", "a")), s.rig.Node(s.place("public", "b"))
	process, err := b.StartUp(s.ctx, s.create(a))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.FirstPing(s.ctx, address(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.waitPath(a, b, peer.PathDirect, time.Now().Add(directGoal)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(s.ctx)
	pinging := make(chan struct{})
	go func() {
		defer close(pinging)
		_, _ = a.Run(ctx, "ping", b.Name, "--count", "1000", "--interval", "100ms") // until it is stopped
	}()
	defer func() { stop(); <-pinging }()

	process.Signal(syscall.SIGSTOP)
	defer process.Signal(syscall.SIGCONT)
	stopped := time.Now()
	p := s.waitPeerState(a, b, 2*time.Second, func(p peer.State) bool { return p != peer.Connected })
	t.Logf("%s after %v: %s", p.State, time.Since(stopped).Round(time.Millisecond), p.Why)
	if !strings.HasPrefix(p.Why, "data waits, and b has not answered") || p.Path != peer.PathNone {
		t.Errorf("path %s, why %q", p.Path, p.Why)
	}
	process.Signal(syscall.SIGCONT)
	back := time.Now()
	s.waitPeerState(a, b, 2*time.Second, func(p peer.State) bool { return p == peer.Connected })
	t.Logf("connected %v after it is back", time.Since(back).Round(time.Millisecond))
}

// waitPeerState asks until the state is one that is wanted.
func (s *setup) waitPeerState(from, to *Node, within time.Duration, want func(peer.State) bool) *tunnel.PeerStatus {
	s.t.Helper()
	for deadline := time.Now().Add(within); ; {
		p, err := from.Peer(s.ctx, to)
		if err != nil {
			s.t.Fatal(err)
		}
		if want(p.State) {
			return p
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s says %s is %s after %v: %s", from.Name, to.Name, p.State, within, p.Why)
		}
	}
}
