package main

import (
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

// Links of the lab. The rate is the machine's.
var (
	uplink = natlab.Link{Delay: 20 * time.Millisecond}
	inLAN  = natlab.Link{Delay: 500 * time.Microsecond} // of a machine to its router
)

// pair is two nodes in their places.
type pair struct {
	name, title string
	place       func(w *world) error
	kind        kind
	rtt         time.Duration // of the best path
}

// kind is what the best path is.
type kind int

const (
	direct kind = iota
	relayed
	lan
)

var pairs = []*pair{
	{"direct", "port–port, direct", homes(natlab.PortRestricted, natlab.PortRestricted), direct, 80 * time.Millisecond},
	{"relayed", "symmetric–symmetric, relayed by the hub", homes(natlab.Symmetric, natlab.Symmetric), relayed, 160 * time.Millisecond},
	{"lan", "one LAN", func(w *world) error { return w.addLAN("a", "b") }, lan, 2 * time.Millisecond},
	{"full", "port–full, direct", homes(natlab.PortRestricted, natlab.Full), direct, 80 * time.Millisecond},
	{"address", "address–address, direct", homes(natlab.AddressRestricted, natlab.AddressRestricted), direct, 80 * time.Millisecond},
	{"mutual", "port–port, with a live mutual peer", mutual, direct, 80 * time.Millisecond},
	{"coturn", "symmetric–symmetric, relayed by coturn alone", relays(20*time.Millisecond, true), relayed, 160 * time.Millisecond},
	{"near coturn", "symmetric–symmetric, a nearer coturn beside the hub's relay", relays(5*time.Millisecond, false), relayed, 130 * time.Millisecond},
	{"far coturn", "symmetric–symmetric, a farther coturn beside the hub's relay", relays(60*time.Millisecond, false), relayed, 160 * time.Millisecond},
}

func pairNamed(name string) *pair {
	for _, p := range pairs {
		if p.name == name {
			return p
		}
	}
	panic("no pair " + name)
}

// homes places a and b behind NATs of their own.
func homes(a, b natlab.Behavior) func(*world) error {
	return func(w *world) error {
		if err := w.addHome("a", a); err != nil {
			return err
		}
		return w.addHome("b", b)
	}
}

// mutual places a third node that both can reach at any time.
func mutual(w *world) error {
	if err := homes(natlab.PortRestricted, natlab.PortRestricted)(w); err != nil {
		return err
	}
	return w.addPublic("c")
}

// relays places a coturn with such a link; alone, or beside the hub's relay.
func relays(delay time.Duration, alone bool) func(*world) error {
	return func(w *world) (err error) {
		if alone { // the hub's own relay is where nobody can reach it
			w.hubArgs = []string{"--turn-listen", "127.0.0.1:3478"}
		}
		if w.relayHost, err = w.lab.PublicHost("coturn", natlab.Through(natlab.Link{Delay: delay})); err != nil {
			return err
		}
		return homes(natlab.Symmetric, natlab.Symmetric)(w)
	}
}

// best says whether this is the best path that the pair can have.
func (p *pair) best(st tunnel.PeerStatus) bool {
	if st.State != peer.Connected {
		return false
	}
	switch p.kind {
	case relayed:
		return st.Path == peer.PathRelayed
	case lan:
		return st.Path == peer.PathDirect && isLocal(st.Local) && isLocal(st.Remote)
	}
	return st.Path == peer.PathDirect
}

// isLocal says whether an end of a path is in a LAN of the lab.
func isLocal(e tunnel.EndpointStatus) bool { return isWithin(e, lans) }
