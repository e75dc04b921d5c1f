package tunnel

import (
	"net/netip"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// send sends a sealed message to a member by the ways that seem good. It is called
// on the session's goroutine, and does not block.
func (n *Node) send(a *active, sealed []byte) {
	now := time.Now()
	_, joining := n.byJoin.Load(a.node)
	hub := n.sendByHub(a.node, sealed) && (joining || a.atHub.Load())
	offer := signaling.IsOffer(sealed)
	out := n.outgoing(a, sealed)
	if out.reply(now) || !hub || offer || signaling.IsAnswer(sealed) {
		out.byPath()
	}
	moved := now.Sub(unixNano(n.moved.Load())) < movedFor
	blind := !hub && (moved || now.Sub(unixNano(a.heardNS.Load())) >= heardFor)
	matters := offer && (!hub || a.urgent(now))
	wide := offer && a.ways.offers(now, sealed, matters)
	// What has ended the path may have ended the connection to the hub, too.
	if wide || blind || offer && a.session.Snapshot().Suspect {
		out.wide(now)
	} else if matters {
		out.guess(now, true)
		signal(n.soon)
	} else if !offer && a.ways.through(now, config.NodeKey{}) {
		out.byMutual(now)
	}
}

// sendNote sends a sealed note by the path to the member, where WireGuard has
// lately heard from there, so that the hub cannot keep it back. Every other one
// goes by the hub all the same: the path may carry one way only.
func (n *Node) sendNote(a *active, sealed []byte) {
	a.notes++
	now := time.Now()
	out := n.outgoing(a, sealed)
	heard := now.Sub(unixNano(a.heardNS.Load())) < lively
	if heard && a.notes%2 != 0 && out.byPath() {
		return
	}
	out.reply(now)
	if !n.sendByHub(a.node, sealed) {
		out.byPath()
	}
}

// urgent says whether data waits for the member, or passed lately.
func (a *active) urgent(now time.Time) bool {
	return now.Sub(unixNano(a.wantedNS.Load())) < urgentFor
}

// outgoing is a sealed message on its way to a member.
type outgoing struct {
	node      *Node
	to        *active
	sealed    []byte
	id        signaling.MessageID
	datagrams [][]byte // nil: not cut yet
}

func (n *Node) outgoing(a *active, sealed []byte) *outgoing {
	return &outgoing{node: n, to: a, sealed: sealed, id: signaling.DatagramID(sealed)}
}

// cut returns the datagrams, and how long they are together.
func (o *outgoing) cut() (datagrams [][]byte, size int) {
	if o.datagrams == nil && o.to.pairing.keys != nil {
		o.datagrams = o.to.pairing.keys.Cut(o.sealed)
	}
	for _, d := range o.datagrams {
		size += len(d)
	}
	return o.datagrams, size
}

// byPath sends it by the tunnel's path.
func (o *outgoing) byPath() bool {
	p, ok := o.to.endpoint.Path()
	if !ok || !signaling.IsFrame(o.sealed) && !o.to.ways.once(time.Now(), o.id, p.Remote) {
		return ok
	}
	datagrams, _ := o.cut()
	return o.to.endpoint.SendSealed(datagrams)
}

// reply sends it to where the member's datagrams came from, other than by the path. It
// says whether any came lately.
func (o *outgoing) reply(now time.Time) bool {
	if !o.to.ways.spoke(now) {
		return false
	}
	datagrams, size := o.cut()
	path, _ := o.to.endpoint.Path()
	for _, c := range o.to.ways.replies(now, o.id, size, claim{path.Relay, path.Remote}) {
		for _, d := range datagrams {
			if c.relay != nil {
				_ = c.relay.Send(d, c.from) // lost, as packets are
			} else {
				o.direct(d, c.from)
			}
		}
	}
	return true
}

// wide sends it by all that is left.
func (o *outgoing) wide(now time.Time) {
	o.byMutual(now)
	o.guess(now, false)
}

// guess sends it to where the member may be: on this LAN, or anywhere.
func (o *outgoing) guess(now time.Time, near bool) {
	if o.node.cfg.RelayOnly {
		return
	}
	datagrams, size := o.cut()
	for _, a := range o.to.ways.guesses(now, o.id, size, near) {
		for _, d := range datagrams {
			o.direct(d, a)
		}
	}
}

// direct sends a datagram to an address, from where the kernel chooses.
func (o *outgoing) direct(d []byte, to netip.AddrPort) {
	if !o.node.cfg.RelayOnly {
		_ = o.node.tunnel.bind.SendTo(d, netip.Addr{}, to)
	}
}

// byMutual leaves it to the loop to ask others that they pass it on.
func (o *outgoing) byMutual(now time.Time) {
	if !o.to.ways.once(now, o.id, netip.AddrPort{}) {
		return
	}
	select {
	case o.node.passes <- errand{o.to.node, o.sealed}:
	default: // more than anybody would carry
	}
}

// pollWays sends offers by every way that were not answered in time. It returns when
// to look again, for those that may be answered yet.
func (n *Node) pollWays(now time.Time) (again <-chan time.Time) {
	for _, a := range n.active {
		sealed, waits := a.ways.due(now)
		if sealed != nil {
			n.outgoing(a, sealed).wide(now)
		}
		if waits && again == nil {
			again = time.After(widenAfter / 6)
		}
	}
	return again
}
