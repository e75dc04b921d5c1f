package hub

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/turn/v5"
)

// client is what an allocation is known by: where the client sends from, and
// which listener it sends to.
type client struct {
	from, listener netip.AddrPort
}

// allocation is one client's use of the relay. It is written when pion/turn
// has made it: the AuthHandler runs too early to know that the client is who
// it says.
type allocation struct {
	owner   identity
	meter   *meter // of the owner's share
	release func() // of the client's address, see admitted

	// The listener's reader owns these.
	peers    *recent[netip.Addr]
	channels *recent[uint16]
}

func newAllocation(owner identity, m *meter, release func()) *allocation {
	return &allocation{
		owner: owner, meter: m, release: release,
		peers:    newRecent[netip.Addr](maxPermissions, permissionLife),
		channels: newRecent[uint16](maxChannels, channelLife),
	}
}

var (
	errNoTCP    = errors.New("turn: UDP only")
	errNoFamily = errors.New("turn: the hub has no address of this family")
	errUser     = errors.New("turn: not for a member")
)

// generator makes relay sockets for one listener (turn.RelayAddressGenerator).
type generator struct {
	relay  *relay
	prefer netip.Addr // the listener's public address
}

// Validate has nothing to check.
func (g *generator) Validate() error { return nil }

// AllocatePacketConn opens a relay for a member, announced under a public
// address of the family asked for. A port of the client's choice (EVEN-PORT,
// RESERVATION-TOKEN) there is not.
func (g *generator) AllocatePacketConn(conf turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	owner, ok := identityOf(conf.UserID)
	if !ok || conf.RequestedPort != 0 {
		return nil, nil, errUser
	}
	public, ok := g.publicOf(conf.Network == "udp4")
	if !ok {
		return nil, nil, errNoFamily
	}
	socket, err := listenUDP(netip.AddrPortFrom(g.relay.binds[public], 0))
	if err != nil {
		return nil, nil, fmt.Errorf("turn relay: %w", err)
	}
	announced := netip.AddrPortFrom(public, addrPort(socket.LocalAddr()).Port())
	c := &relayConn{
		relay: g.relay, network: owner.network, socket: socket,
		announced: net.UDPAddrFromAddrPort(announced),
		in:        make(chan *packet, relayQueue), closed: make(chan struct{}),
	}
	g.relay.join(c, owner)
	if !g.relay.credentials.has(owner) { // ended meanwhile; if only now, end finds c
		c.Close()
		return nil, nil, errUser
	}
	g.relay.pumps.Go(c.pump)
	return c, c.announced, nil
}

func (g *generator) publicOf(ipv4 bool) (netip.Addr, bool) {
	if g.prefer.Is4() == ipv4 {
		return g.prefer, true
	}
	for _, a := range g.relay.public {
		if a.Is4() == ipv4 {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// AllocateListener refuses: TCP relays (RFC 6062) would be a proxy.
func (g *generator) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errNoTCP
}

// AllocateConn refuses, as AllocateListener does.
func (g *generator) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errNoTCP }

func (r *relay) created(src, dst net.Addr, _, userID, _ string, relayAddr net.Addr, _ int) {
	owner, ok := identityOf(userID)
	if !ok {
		return
	}
	from := addrPort(src)
	release := r.admitted.hold(owner.network, from.Addr())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.allocations[client{from, addrPort(dst)}] = newAllocation(owner, r.shareLocked(owner).meter, release)
	r.log.Info("relay allocated", "network", owner.network.String(), "peer", owner.node.String(), "remote", from.String(), "local", relayAddr.String())
}

func (r *relay) deleted(src, dst net.Addr, _, _, _ string) {
	key := client{addrPort(src), addrPort(dst)}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.allocations[key]
	if a == nil {
		return
	}
	delete(r.allocations, key)
	a.release()
	r.log.Info("relay released", "network", a.owner.network.String(), "peer", a.owner.node.String(), "remote", key.from.String())
}
