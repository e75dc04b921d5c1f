package tunnel

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/peer/behavior"
)

// What the NATs and firewalls here let in is found out once in each network, from
// sockets of its own: the data port is not touched. How that port is mapped, peer's
// mapper finds out on it, as a NAT may treat each port in its own way.

const (
	// discoverAfter is how long a network has to be the same before it is looked at:
	// changes come in bursts, and there are tunnels to be made anew first.
	discoverAfter = time.Second

	// Where nothing has answered it is looked at again after this, doubling: that
	// may pass without a change that this machine sees.
	discoverAgain    = 20 * time.Second
	maxDiscoverAgain = 10 * time.Minute
)

// discoverNetwork keeps what was found until ctx ends. n.look says that the network, or
// the servers to ask, are others.
func (n *Node) discoverNetwork(ctx context.Context, d *device) {
	wait := discoverAgain
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.look:
			wait = discoverAgain
			if !n.settled(ctx) {
				return
			}
		case <-again:
			wait = min(2*wait, maxDiscoverAgain)
		}
		again = nil
		if found := n.discoverOnce(ctx, d); found != nil && !answered(found) {
			again = time.After(wait)
		}
	}
}

// settled waits until there was no news of the network for a while.
func (n *Node) settled(ctx context.Context) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-n.look:
		case <-time.After(discoverAfter):
			return true
		}
	}
}

// discoverOnce tests the network, if the hub has told with whom. The answer is of no
// use when the network has changed meanwhile: then there is word of that in n.look.
func (n *Node) discoverOnce(ctx context.Context, d *device) *behavior.Report {
	var servers []netip.AddrPort
	if n.do(ctx, func() error { servers = slices.Clone(n.hubSTUN); return nil }) != nil || len(servers) == 0 {
		return nil
	}
	moved := n.moved.Load()
	found, err := behavior.Discover(ctx, behavior.Config{Servers: servers})
	if err != nil || n.moved.Load() != moved {
		return nil
	}
	n.log.Debug("network looked at", "mapping", found.IPv4.Mapping, "filtering", found.IPv4.Filtering,
		"allocation", found.IPv4.Allocation, "classic", found.IPv4.Classic, "address6", found.IPv6.Address, "filtering6", found.IPv6.Filtering)
	n.found.Store(&found)
	if n.do(ctx, func() error { n.tellBlocked(d); return nil }) != nil {
		return nil
	}
	return &found
}

// tellBlocked has peers told whether UDP is blocked here, if there is a tunnel yet.
func (n *Node) tellBlocked(d *device) {
	if d != nil {
		d.underlay.SetBlocked(n.udpBlocked(d.underlay.Relays()))
	}
}

func answered(r *behavior.Report) bool { return r.IPv4.Answered || r.IPv6.Answered }

// nothingBack says whether there was a way to send, and no answer.
func nothingBack(r *behavior.Report) bool {
	return !answered(r) && (r.IPv4.Sent || r.IPv6.Sent)
}

// filtering is what is let in here, as far as it is known. Of two families IPv4
// counts, as for the mapping.
func (n *Node) filtering() behavior.Dependence {
	found := n.found.Load()
	switch {
	case found == nil:
		return behavior.Unknown
	case found.IPv4.Answered:
		return found.IPv4.Filtering
	}
	return found.IPv6.Filtering
}

// udpBlocked says whether nothing comes back over UDP, though the hub is reached, which
// has servers for it.
func (n *Node) udpBlocked(relays []peer.RelayState) bool {
	found := n.found.Load()
	if found == nil || !nothingBack(found) || !n.link.up {
		return false
	}
	for _, r := range relays {
		if _, err := netip.ParseAddrPort(r.Server); err == nil && !r.Silent {
			return false // one answers by now, and not over a stream
		}
	}
	return true
}
