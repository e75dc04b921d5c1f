package tunnel

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tun"
	"golang.org/x/time/rate"
)

// Members on one LAN find each other by beacons (signaling/beacon.go), which each
// sends to a multicast group when it starts, when its network has changed, and now
// and then. A beacon that asks is answered by beacons. What is heard is an address
// to try, no more: the session shows who is there.
const (
	// lanPort and the groups are the beacons': of administrative scope in IPv4
	// (RFC 2365 section 6.1), of the link in IPv6 (RFC 4291 section 2.7). The port
	// is below those that systems give to outgoing connections.
	lanPort   = 7032
	lanGroup4 = "239.255.112.50"
	lanGroup6 = "ff12::7032"

	lanAgain = time.Second // the first one may be lost
	lanEvery = time.Minute
	lanLeast = time.Second // between two beacons that answer

	// lanJitter spreads the answers of all who hear one that asks.
	lanJitter = 100 * time.Millisecond

	// What those who have the discovery key can make this node verify.
	lanRate  = 20 // signatures per second
	lanBurst = 100

	maxLANAddresses = 4 // of one interface that are told
)

// nearby is a member's beacon.
type nearby struct {
	node   config.NodeKey
	beacon signaling.Beacon
}

// lan tells others on this machine's LANs where it is, and hears them. Its fields
// but the channels belong to run, or do not change.
type lan struct {
	key    signaling.BeaconKey
	self   *signaling.Self
	port   uint16 // of the node
	log    *slog.Logger
	member func(config.ID) (config.NodeKey, bool) // safe for concurrent use
	allow  func(netip.Addr) bool

	heard chan nearby
	moved chan struct{} // holds one signal while the network has changed
	asked chan struct{} // holds one signal while somebody asks

	checks *rate.Limiter
	count  uint32    // beacons so far
	told   time.Time // when one left last
}

// lanSocket is one family's socket, in its group on some interfaces.
type lanSocket interface {
	// send sends b to the group on an interface.
	send(b []byte, index int) error
	// receive blocks for the next packet, and returns the interface that it came
	// by. It fails when the socket is closed.
	receive(b []byte) (n, index int, err error)
	close()
	ipv4() bool
}

// run serves until ctx ends. Without a socket, as where something else has the
// port, there are no beacons.
func (l *lan) run(ctx context.Context) {
	warn := rate.Sometimes{First: 1}
	for ctx.Err() == nil {
		links, err := tun.LANs()
		if err != nil {
			l.log.Debug("no LAN", "err", err)
		}
		sockets, err := openLAN(links)
		if err != nil {
			warn.Do(func() { l.log.Warn("nodes on this LAN are not found without a hub", "err", err) })
		}
		var readers sync.WaitGroup
		for _, s := range sockets {
			readers.Go(func() { l.read(s, links) })
		}
		l.serve(ctx, sockets, links)
		for _, s := range sockets {
			s.close()
		}
		readers.Wait()
	}
}

// serve sends beacons until ctx ends or the network has changed.
func (l *lan) serve(ctx context.Context, sockets []lanSocket, links []tun.LAN) {
	l.announce(sockets, links, true)
	again, every := time.NewTimer(lanAgain), time.NewTicker(lanEvery)
	defer again.Stop()
	defer every.Stop()
	var answer <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.moved:
			return
		case <-again.C:
			l.announce(sockets, links, true)
		case <-every.C:
			l.announce(sockets, links, false)
		case <-l.asked:
			if answer == nil {
				answer = time.After(max(rand.N(lanJitter), lanLeast-time.Since(l.told)))
			}
		case <-answer:
			answer = nil
			l.announce(sockets, links, false)
		}
	}
}

// announce sends a beacon for each address of this machine on a LAN.
func (l *lan) announce(sockets []lanSocket, links []tun.LAN, ask bool) {
	l.told = time.Now()
	for _, link := range links {
		for _, p := range link.Addresses[:min(len(link.Addresses), maxLANAddresses)] {
			if !l.allow(p.Addr()) {
				continue
			}
			l.count++
			b := signaling.Beacon{
				Node: l.self.Node.Public().ID(), Ask: ask, Epoch: l.self.Epoch, Count: l.count,
				Addr: netip.AddrPortFrom(p.Addr(), l.port),
			}
			msg := b.Seal(l.key, l.self)
			for _, s := range sockets {
				if s.ipv4() == p.Addr().Is4() {
					_ = s.send(msg, link.Index) // lost, as packets are
				}
			}
		}
	}
}

// read hears others until the socket is closed.
func (l *lan) read(s lanSocket, links []tun.LAN) {
	b := make([]byte, signaling.BeaconSize+1)
	for {
		n, index, err := s.receive(b)
		if err != nil {
			return
		}
		i := slices.IndexFunc(links, func(k tun.LAN) bool { return k.Index == index })
		if i < 0 {
			continue
		}
		if heard, ok := l.open(b[:n], links[i]); ok {
			l.hear(heard)
		}
	}
}

// open takes what came by a LAN, if it is a member's word that it is there. An
// address elsewhere is nobody's business here.
func (l *lan) open(b []byte, link tun.LAN) (heard nearby, ok bool) {
	s, err := signaling.OpenBeacon(l.key, b)
	if err != nil || !link.Contains(s.Addr.Addr()) || !l.allow(s.Addr.Addr()) {
		return heard, false
	}
	node, ok := l.member(s.Node)
	if !ok || !l.checks.Allow() || !s.Verify(l.self.Network, node) {
		return heard, false
	}
	return nearby{node, s.Beacon}, true
}

// hear passes on what a member says.
func (l *lan) hear(heard nearby) {
	if heard.beacon.Ask {
		signal(l.asked)
	}
	select {
	case l.heard <- heard:
	default: // it says so again
	}
}

// newLAN returns what speaks and hears on the LANs; nil: that is switched off.
func (n *Node) newLAN(d *device, allow func(netip.Addr) bool) *lan {
	if n.cfg.NoLAN || n.cfg.RelayOnly || n.node.Discovery == [32]byte{} {
		return nil
	}
	return &lan{
		key: signaling.NewBeaconKey(n.self.Network, n.node.Discovery), self: n.self, port: d.bind.Port(), log: n.log,
		member: n.sealed.named, allow: allow,
		heard: n.nearby, moved: make(chan struct{}, 1), asked: make(chan struct{}, 1),
		checks: rate.NewLimiter(lanRate, lanBurst),
	}
}

// changed makes all new after a change of the network.
func (l *lan) changed() {
	if l == nil {
		return
	}
	signal(l.moved)
}

// hearBeacon takes a member's beacon: an address to try, where it matters.
func (n *Node) hearBeacon(b nearby) {
	m, now := n.members[b.node], time.Now()
	if m == nil || b.beacon.Epoch < m.epoch || b.beacon.Epoch == m.beacon.Epoch && b.beacon.Count <= m.beacon.Count {
		return // it was removed, or this was said before
	}
	m.beacon = b.beacon
	n.noteEpoch(m, b.beacon.Epoch)
	m.whereabouts().beacon(b.beacon.Addr)
	switch {
	case m.active == nil && n.tunnel.gate.waits(m.door):
		n.want(m)
	case m.active == nil && n.lone:
		n.seek = time.Time{}
		n.chooseNeighbours(now)
	case m.active != nil && now.Sub(m.active.heard) >= heardFor:
		n.tellReachable(m.active)
		if sealed := m.ways.waiting(); sealed != nil {
			n.outgoing(m.active, sealed).wide(now)
		}
	}
}
