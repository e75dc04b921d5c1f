package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

// connectLimit is how long the nodes may take to have the path that is to be
// measured.
const connectLimit = 30 * time.Second

func (b program) startDirect(ctx context.Context, s *stage) error {
	_, err := b.startNodes(ctx, s, peer.PathDirect, s.b, nil) // the hub has no part in a direct path
	return err
}

// allProcessors is direct, on as many processors as there are from the start:
// what a Go program does by itself.
const allProcessors = " direct, all processors"

func (b program) startOnAll(ctx context.Context, s *stage) error {
	script := filepath.Join(s.dir, "p2ptun-on-all")
	text := fmt.Sprintf("#!/bin/sh\nGOMAXPROCS=%d exec '%s' \"$@\"\n", runtime.NumCPU(), b.path)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		return err
	}
	b.path = script
	return b.startDirect(ctx, s)
}

func (b program) startRelayed(ctx context.Context, s *stage) error {
	return b.startByHub(ctx, s, nil)
}

// startOver has the nodes reach the hub's relay by one way, "tcp", "tls" or
// "websocket": its UDP ports are where they cannot reach them.
func (b program) startOver(way string) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		s.env = []string{"P2PTUN_RELAY_OVER=" + way}
		return b.startByHub(ctx, s, []string{"--turn-listen", "127.0.0.1:3478"})
	}
}

func (b program) startByHub(ctx context.Context, s *stage, hubArgs []string) error {
	hub, err := b.startNodes(ctx, s, peer.PathRelayed, s.hub, hubArgs, "--relay-only")
	if err != nil {
		return err
	}
	s.procs = append(s.procs, proc{relayProcess, hub.PID()})
	s.profilers[relayProcess] = hub.Profile
	return nil
}

// missingRelay says why the nodes cannot use coturn.
func (b program) missingRelay() string {
	if !b.has("up", "relay") {
		return "`up` has no --relay"
	}
	return missingCoturn()
}

// startCoturn has the nodes use coturn, and no other: the hub's own relay is
// where they cannot reach it.
func (b program) startCoturn(ctx context.Context, s *stage) error {
	relay, err := s.startCoturn(ctx)
	if err != nil {
		return err
	}
	uri := fmt.Sprintf("turn:%s:%s@%v", turnUser, turnPassword, relay.addr)
	if _, err := b.startNodes(ctx, s, peer.PathRelayed, s.relay, []string{"--turn-listen", "127.0.0.1:3478"}, "--relay-only", "--relay", uri); err != nil {
		return err
	}
	s.procs = append(s.procs, relay.proc)
	return nil
}

// startNodes runs a hub and a node on each of a, b and c, and waits until a
// has such a path to both others; one by a relay is by that host.
func (b program) startNodes(ctx context.Context, s *stage, path peer.PathKind, via *natlab.Host, hubArgs []string, args ...string) (*e2e.Hub, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, connectLimit, fmt.Errorf("not connected within %v", connectLimit))
	defer cancel()
	rig := &e2e.Rig{Lab: s.lab, Bin: b.path, Dir: s.dir}
	hub, err := rig.StartHub(s.ctx, s.hub, append(b.hubArgs(), hubArgs...)...)
	if err != nil {
		return nil, err
	}
	join := []string{"--new", "bench", "--hub", hub.Link, "--prefix", "10.77.0.0/24"}
	for i, host := range []*natlab.Host{s.a, s.b, s.c} {
		n := rig.Node(host)
		n.Env = s.env
		p, err := n.StartUp(s.ctx, append(join, args...)...)
		if err != nil {
			return nil, err
		}
		if _, err := p.Expect(ctx, "p2ptun0 is up"); err != nil {
			return nil, err
		}
		if s.addr[i], err = ownAddr(ctx, n); err != nil {
			return nil, err
		}
		if i < 2 {
			s.procs = append(s.procs, proc{n.Name, p.PID()})
			s.profilers[n.Name] = n.Profile
		} else {
			s.third = proc{n.Name, p.PID()}
		}
		s.nodes = append(s.nodes, n)
		invite, err := invite(ctx, s.nodes[0])
		if err != nil {
			return nil, err
		}
		join = []string{invite}
	}
	s.check = func(ctx context.Context) error { return s.hasPath(ctx, path, via.Addr()) }
	for err = s.check(ctx); err != nil; err = s.check(ctx) {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
	return hub, nil
}

// hubArgs lift the hub's limit for one member: the relay is measured.
func (b program) hubArgs() []string {
	if b.has("hub", "relay-rate") {
		return []string{"--relay-rate", "0"}
	}
	return nil
}

// has says whether a command of the binary has a flag.
func (b program) has(command, flag string) bool {
	help, _ := exec.Command(b.path, command, "--help").Output()
	return strings.Contains(string(help), "--"+flag+" ")
}

// ownAddr waits for the node's IPv4 address inside the tunnel.
func ownAddr(ctx context.Context, n *e2e.Node) (netip.Addr, error) {
	s, err := n.Status(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range s.Self.Addresses {
		if a.Is4() {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no IPv4 address", n.Name)
}

// invite makes one as soon as the node is connected to the hub.
func invite(ctx context.Context, n *e2e.Node) (string, error) {
	for {
		s, err := n.Status(ctx)
		if err != nil {
			return "", err
		}
		if s.Hub.Connected {
			return n.Run(ctx, "invite")
		}
	}
}

// hasPath says whether a and b, and a and c, have such a path, as both ends see
// it. It pings, which wakes a path that is made on demand.
func (s *stage) hasPath(ctx context.Context, want peer.PathKind, relay netip.Addr) error {
	for _, pair := range [][2]int{{0, 1}, {1, 0}, {0, 2}, {2, 0}} {
		from, to := s.nodes[pair[0]], s.nodes[pair[1]]
		if err := wake(ctx, from, to); err != nil {
			return err
		}
		p, err := from.Peer(ctx, to)
		if err != nil {
			return err
		}
		if p.State != peer.Connected || p.Path != want {
			return fmt.Errorf("%s says %s is %s, path %s, want %s", from.Name, to.Name, p.State, p.Path, want)
		}
		if want == peer.PathRelayed && !isAt(p.Local, relay) && !isAt(p.Remote, relay) {
			return fmt.Errorf("%s says %s is relayed from %s to %s, want it by %v", from.Name, to.Name, p.Local.Address, p.Remote.Address, relay)
		}
	}
	return nil
}

// wake pings until there is an answer: one packet may be lost in what a load has left.
func wake(ctx context.Context, from, to *e2e.Node) (err error) {
	for range 3 {
		if _, err = from.Run(ctx, "ping", to.Name, "--count", "1"); err == nil {
			return nil
		}
	}
	return err
}

// isAt says whether an end of a path is at the address.
func isAt(e tunnel.EndpointStatus, addr netip.Addr) bool {
	ap, err := netip.ParseAddrPort(e.Address)
	return err == nil && ap.Addr() == addr
}
