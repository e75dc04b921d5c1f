package first

import (
	"context"
	"net/netip"
	"os"
	"time"

	"github.com/p2ptun/p2ptun/internal/e2e"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
)

// Pair is where two nodes stand.
type Pair struct {
	Name string
	A, B string // what NAT is in front of each; "lan": b is behind a's
	Path peer.PathKind
}

// Pairs are those that the table has.
var Pairs = []Pair{
	{"port–port", "port", "port", peer.PathDirect},
	{"full–port", "full", "port", peer.PathDirect},
	{"symmetric–symmetric", "symmetric", "symmetric", peer.PathRelayed},
	{"LAN", "port", "lan", peer.PathDirect},
}

// Delays are the table's, of each uplink, one way.
var Delays = []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond}

// prefix is that of every network: the first node has the first address.
var prefix = netip.MustParsePrefix("10.77.0.0/16")

// scene is a lab with a hub, the keeper a of a network, and others that join it.
type scene struct {
	ctx  context.Context
	pair Pair
	link natlab.Link
	lab  *natlab.Lab
	rig  *e2e.Rig
	hub  *e2e.Hub

	hubHost *natlab.Host
	home    *natlab.NAT // a's
	a       *actor
}

// actor is a node, and the process that runs it.
type actor struct {
	*e2e.Node
	addr    netip.Addr  // inside the tunnel
	home    *natlab.NAT // that it is behind
	process *e2e.Process
}

// newScene makes the lab and has a make the network. Close the lab.
func newScene(ctx context.Context, o Options, bin string, p Pair, delay time.Duration) (*scene, error) {
	dir, err := os.MkdirTemp(o.Dir, "lab-")
	if err != nil {
		return nil, err
	}
	lab, err := natlab.New()
	if err != nil {
		return nil, err
	}
	s := &scene{
		ctx: ctx, pair: p, link: natlab.Link{Delay: delay}, lab: lab,
		rig: &e2e.Rig{Lab: lab, Bin: bin, Dir: dir, LogLevel: o.LogLevel, Output: o.Output},
	}
	if err := s.begin(); err != nil {
		lab.Close()
		return nil, err
	}
	return s, nil
}

func (s *scene) begin() (err error) {
	if s.hubHost, err = s.lab.PublicHost("hub", natlab.Through(s.link)); err != nil {
		return err
	}
	if s.hub, err = s.rig.StartHub(s.ctx, s.hubHost); err != nil {
		return err
	}
	if s.a, err = s.place(s.pair.A, "a"); err != nil {
		return err
	}
	s.a.process, err = s.a.StartUp(s.ctx, "--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String())
	if err != nil {
		return err
	}
	_, err = s.a.process.Expect(s.ctx, "connected to the hub")
	return err
}

// place makes the next node, behind a NAT of that kind.
func (s *scene) place(kind, name string) (*actor, error) {
	home := s.home
	if kind != "lan" {
		behavior, err := natlab.Parse(kind)
		if err != nil {
			return nil, err
		}
		behavior.Timeout = forgets
		if home, err = s.lab.NAT(name+"-home", behavior, natlab.Through(s.link)); err != nil {
			return nil, err
		}
	}
	if s.home == nil {
		s.home = home
	}
	host, err := home.Host(name)
	if err != nil {
		return nil, err
	}
	addr := prefix.Addr().Next()
	for range len(s.rig.Nodes) {
		addr = addr.Next()
	}
	return &actor{Node: s.rig.Node(host), addr: addr, home: home}, nil
}

// newcomer makes the machine that is to join next.
func (s *scene) newcomer(name string) (*actor, error) { return s.place(s.pair.B, name) }

// invite has a make one.
func (s *scene) invite() (string, error) { return s.a.Run(s.ctx, "invite") }

// roundTrips measures the way to the hub, b's as a's, and the one from a to b:
// through both uplinks, or over the hub where nothing else is possible.
func (s *scene) roundTrips(b *actor) (hub, path time.Duration, err error) {
	if hub, err = roundTrip(s.ctx, b.Host, s.hubHost.Addr()); err != nil {
		return 0, 0, err
	}
	if s.pair.B == "lan" {
		path, err = roundTrip(s.ctx, s.a.Host, b.Host.Addr())
		return hub, path, err
	}
	if s.pair.Path == peer.PathRelayed {
		path, err = roundTrip(s.ctx, s.a.Host, s.hubHost.Addr())
		return hub, hub + path, err
	}
	// The NAT answers pings, and stands behind b's uplink.
	path, err = roundTrip(s.ctx, s.a.Host, b.home.Addr())
	return hub, path, err
}
