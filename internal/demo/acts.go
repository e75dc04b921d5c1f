package main

import (
	"context"
	"fmt"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
	"golang.org/x/sync/errgroup"
)

// What is expected of the nodes.
const (
	pingGoal     = time.Second      // first ping after the second `up` of a pair; told
	pingLimit    = 5 * time.Second  // the demo fails after it
	directLimit  = 5 * time.Second  // from the first ping to a direct path where NATs allow it
	nominateTime = 15 * time.Second // a relayed pair is nominated only after 10 s
	fileSize     = 64 << 20
)

func (s *story) firstNode(ctx context.Context) error {
	invite, err := s.up(ctx, s.nodes[0], "--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String())
	s.invite = invite
	return err
}

func (s *story) secondNode(ctx context.Context) error {
	if err := s.join(ctx, 1, s.invite); err != nil {
		return err
	}
	return s.becomesDirect(ctx, s.nodes[0], s.nodes[1])
}

func (s *story) thirdNode(ctx context.Context) error {
	invite, err := s.run(ctx, s.nodes[0], "invite")
	if err != nil {
		return err
	}
	return s.join(ctx, 2, invite)
}

// pings asks p2ptun itself which way its pings took, pair by pair.
func (s *story) pings(ctx context.Context) error {
	for i, from := range s.nodes {
		for _, to := range s.nodes[i+1:] {
			if _, err := s.run(ctx, from, "ping", to.Name, "--count", "1"); err != nil {
				return err
			}
		}
	}
	return nil
}

// join brings a node up while those before it ping it.
func (s *story) join(ctx context.Context, i int, invite string) error {
	g, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for _, n := range s.nodes[:i] {
		g.Go(func() error { return s.firstPing(ctx, n, i, start) })
	}
	g.Go(func() error {
		_, err := s.up(ctx, s.nodes[i], invite)
		return err
	})
	return g.Wait()
}

// firstPing waits for the first answer of a node and asks for its path.
func (s *story) firstPing(ctx context.Context, from *e2e.Node, to int, start time.Time) error {
	limited, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	if err := from.FirstPing(limited, address(to)); err != nil {
		return fmt.Errorf("first ping, waited %v: %w", pingLimit, err)
	}
	at := time.Now()
	p, err := connected(ctx, from, s.nodes[to])
	if err != nil {
		return err
	}
	verdict := "goal"
	if at.Sub(start) > pingGoal {
		verdict = "MISSES the goal of"
	}
	s.out.add(at, "", fmt.Sprintf("FIRST PING %s → %s, %.3f s after `up` (%s %v), path %s",
		from.Name, s.nodes[to].Name, at.Sub(start).Seconds(), verdict, pingGoal, p.Path))
	return nil
}

// connected asks a node how it stands with another; it has to be connected.
func connected(ctx context.Context, from, to *e2e.Node) (*tunnel.PeerStatus, error) {
	p, err := from.Peer(ctx, to)
	if err == nil && (p.State != peer.Connected || p.Path == peer.PathNone) {
		err = fmt.Errorf("%s says %s is %s, path %s; want connected", from.Name, to.Name, p.State, p.Path)
	}
	return p, err
}

// becomesDirect waits until both say that the path between them is direct.
func (s *story) becomesDirect(ctx context.Context, a, b *e2e.Node) error {
	deadline := time.Now().Add(directLimit)
	for _, pair := range [][2]*e2e.Node{{a, b}, {b, a}} {
		for {
			p, err := pair[0].Peer(ctx, pair[1])
			if err != nil {
				return err
			}
			if p.State == peer.Connected && p.Path == peer.PathDirect {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s says after %v: %s is %s, path %s; want a direct path", pair[0].Name, directLimit, p.Name, p.State, p.Path)
			}
		}
	}
	return nil
}

// copies copies a file between two port-restricted NATs, and from there to the
// symmetric one, which takes a relay unless the NATs could be outwitted.
func (s *story) copies(ctx context.Context) error {
	for _, c := range [][2]int{{0, 1}, {1, 2}} {
		if err := s.copy(ctx, s.nodes[c[0]], s.nodes[c[1]]); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) copy(ctx context.Context, from, to *e2e.Node) error {
	before, err := connected(ctx, from, to)
	if err != nil {
		return err
	}
	t, err := from.Send(ctx, to, before.Addresses[0], fileSize)
	if err != nil {
		return err
	}
	at := time.Now()
	after, err := connected(ctx, from, to)
	if err != nil {
		return err
	}
	path := string(before.Path)
	if after.Path != before.Path {
		path += ", then " + string(after.Path)
	}
	mib := float64(t.Bytes) / (1 << 20)
	s.out.add(at, "", fmt.Sprintf("COPIED %.0f MiB %s → %s in %.2f s: %.0f MiB/s, path %s\nSHA-256 the same at both ends: %x",
		mib, from.Name, to.Name, t.Took.Seconds(), mib/t.Took.Seconds(), path, t.Sum))
	return nil
}

// nominations waits until every node has nominated a pair with every other,
// and has told all its kinds of candidates.
func (s *story) nominations(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, nominateTime, fmt.Errorf("waited %v", nominateTime))
	defer cancel()
	var want []sighting
	for _, n := range s.nodes {
		for _, kind := range []peer.CandidateType{peer.Host, peer.ServerReflexive, peer.Relayed} {
			want = append(want, sighting{n.Name, msgCandidate, string(kind)})
		}
		for _, other := range s.nodes {
			if n != other {
				want = append(want, sighting{n.Name, msgNominated, other.Name})
			}
		}
	}
	return s.seen.wait(ctx, want...)
}

// status shows how every node stands with all others: connected.
func (s *story) status(ctx context.Context) error {
	for _, n := range s.nodes {
		if _, err := s.run(ctx, n, "status"); err != nil {
			return err
		}
		for _, other := range s.nodes {
			if other == n {
				continue
			}
			if _, err := connected(ctx, n, other); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *story) down(ctx context.Context) error {
	for _, n := range s.nodes {
		if _, err := s.run(ctx, n, "down"); err != nil {
			return err
		}
	}
	return nil
}
