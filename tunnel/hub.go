package tunnel

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
)

// handle takes one frame from the hub. Nothing that the hub says or fails to
// say takes a path from a peer: it introduces, and no more.
func (n *Node) handle(m signaling.Message) {
	switch m := m.(type) {
	case *signaling.Welcome:
		n.observe(m.Observed)
		n.hubUp()
	case *signaling.Down:
		n.hubDown(m.Err)
	case *signaling.Members:
		n.takeMembers(m)
	case *signaling.Presence:
		n.takePresence(m)
	case *signaling.Signal:
		n.receive(m)
	case *signaling.Join:
		n.keep(m)
	case *signaling.Credentials:
		n.takeCredentials(m)
	case *signaling.Error:
		n.learnProof(m)
		if m.Code != signaling.CodeOffline { // the session sends again anyway
			// A hub may say it without end.
			n.noise.Do(func() { n.log.Warn("refused by the hub", "code", m.Code, "err", m.Message) })
		}
	}
}

// receive takes a sealed message that the hub brought.
func (n *Node) receive(m *signaling.Signal) {
	if p := n.members[m.From]; p != nil {
		n.take(p, m.Sealed)
		return
	}
	n.refused("signal", errors.New("its sender is no member"))
}

// arrived takes a sealed message that came in datagrams.
func (n *Node) arrived(a arrival) {
	if p := n.members[a.from]; p != nil {
		p.whereabouts().heard(time.Now(), a)
		n.take(p, a.sealed)
	}
}

// take hands a member's sealed message to the session with it.
func (n *Node) take(p *member, sealed []byte) {
	switch {
	case p.active == nil:
		n.offered(p, sealed)
	case signaling.IsOffer(sealed):
		n.again(p.active, sealed)
	default:
		p.active.session.Receive(sealed)
	}
}

func (n *Node) hubUp() {
	n.link, n.sought = hubLink{up: true, since: time.Now()}, false
	n.byJoin.Clear()
	n.sync.whole, n.sync.compared, n.tickets = nil, false, nil
	for node := range n.present {
		n.setPresent(node, 0) // until the hub says otherwise
	}
	n.tellBlocked(n.tunnel)
	n.progress("connected to the hub at %s", n.node.Hub.URLs[0])
	n.sendTickets()
}

// hubDown says once what keeps this node from its hub.
func (n *Node) hubDown(err error) {
	told := n.link.said != ""
	n.ready.hub(time.Now())
	text := err.Error()
	var refusal *signaling.Error
	if errors.As(err, &refusal) {
		n.learnProof(refusal)
		text = "the hub refused: " + refusal.Message
	}
	n.link = hubLink{said: text}
	n.tellBlocked(n.tunnel)
	if told {
		return
	}
	n.seek = time.Time{}
	n.progress("no connection to the hub, trying again: %s", strings.TrimSuffix(text, "."))
}

// takePresence tells the sessions who is there. Who says so is the peer, by
// its signature; the hub could only claim it.
func (n *Node) takePresence(m *signaling.Presence) {
	for _, o := range m.Online {
		if !o.Verify(n.self.Network) {
			n.refused("presence", errors.New("it is not signed by its node"))
			continue
		}
		n.setPresent(o.Node, o.Epoch)
	}
	for _, node := range m.Offline {
		n.setPresent(node, 0)
	}
	n.chooseNeighbours(time.Now())
	n.ready.hub(time.Now())
}

// setPresent notes a node's epoch; 0 is away.
func (n *Node) setPresent(node config.NodeKey, epoch signaling.Epoch) {
	if _, member := n.roster.Get(node); !member {
		return
	}
	n.present[node] = epoch
	n.byJoin.Delete(node)
	m := n.members[node]
	if m == nil {
		return
	}
	n.setOnline(m, epoch)
	if m.online {
		n.seek = time.Time{}
	}
	if m.online && m.active == nil && n.tunnel.gate.waits(m.door) {
		n.want(m)
	}
}

// maxRenew is how long credentials are kept at most, whatever the clocks say.
const maxRenew = 6 * time.Hour

// takeCredentials lets the underlay allocate at the hub's relay, over UDP and, where
// there is none, by streams, of each address family that the hub relays.
func (n *Node) takeCredentials(m *signaling.Credentials) {
	servers := []peer.Server{}
	ipv4, ipv6 := false, false
	for _, a := range m.Servers {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		ipv4, ipv6 = ipv4 || a.Addr().Is4(), ipv6 || a.Addr().Is6()
		servers = append(servers, peer.Server{Addr: a, Username: m.Username, Password: m.Password})
	}
	for _, way := range n.waysTo(n.node.Hub) {
		for _, is6 := range []bool{false, true} {
			if is6 && ipv6 || !is6 && ipv4 {
				servers = append(servers, peer.Server{Stream: way, IPv6: is6, Username: m.Username, Password: m.Password})
			}
		}
	}
	n.hubRelays = servers
	named := namedRelays(m.Relays)
	n.named.Store(&named)
	stun := n.tunnel.underlay.Servers(slices.Concat(m.Servers, m.STUN))
	if !slices.Equal(stun, n.hubSTUN) {
		signal(n.look)
	}
	n.hubSTUN, n.lent = stun, time.Unix(m.Expires, 0)
	n.tunnel.underlay.SetSTUN(m.STUN)
	n.setServers()
	signal(n.tunnel.moved)                      // the relays' names are to be looked up
	life := time.Until(time.Unix(m.Expires, 0)) // by a clock that may be wrong
	n.renew = time.Now().Add(min(max(life/2, time.Minute), maxRenew))
}

// namedRelays are those that the hub names, which may be anything.
func namedRelays(uris []string) (named []config.Relay) {
	for _, uri := range uris[:min(len(uris), config.MaxRelays)] {
		if r, err := config.ParseRelay(uri); err == nil {
			named = append(named, r)
		}
	}
	return named
}

// learnProof takes what a refusal rests on: that this machine was thrown out is
// believed of an admin alone.
func (n *Node) learnProof(e *signaling.Error) {
	if len(e.Proof) > 0 {
		n.learn([][]byte{e.Proof}, true)
	}
}
