package hub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// allocation is one client's use of the relay, known by the front that the
// client sends to and where it sends from. It is written when pion/turn has
// made it: the AuthHandler runs too early to know that the client is who it
// says.
type allocation struct {
	owner    identity
	share    *share
	client   netip.AddrPort
	front    *front
	relayed  netip.AddrPort
	conn     *relayConn // nil: closed before pion/turn had made the allocation
	release  func()     // of the client's address, see admitted
	bindings *bindings

	// The front's reader owns these.
	peers    *recent[netip.Addr]
	channels *recent[uint16]
}

var (
	errNoTCP    = errors.New("turn: UDP only")
	errNoFamily = errors.New("turn: the hub has no address of this family")
	errUser     = errors.New("turn: not for a member")
)

// generator makes relay sockets for one front (turn.RelayAddressGenerator).
type generator struct {
	relay    *relay
	prefer   netip.Addr // the front's public address
	replaces func() uint16
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
	socket, err := g.listen(owner, public)
	if err != nil {
		return nil, nil, fmt.Errorf("turn relay: %w", err)
	}
	socket.SetBuffers(socketBuffer)
	announced := netip.AddrPortFrom(public, addrPort(socket.LocalAddr()).Port())
	c := &relayConn{
		relay: g.relay, owner: owner, network: owner.network, socket: socket,
		announced: net.UDPAddrFromAddrPort(announced),
		in:        make(chan *packet, relayQueue), closed: make(chan struct{}),
	}
	g.relay.join(c, owner)
	if !g.relay.credentials.has(owner) { // ended meanwhile; if only now, end finds c
		c.Close()
		return nil, nil, errUser
	}
	return c, c.announced, nil
}

// listen opens the socket of a member's relay: where the relay was that it
// replaces, or else where the member's has been before, or else anywhere.
func (g *generator) listen(owner identity, public netip.Addr) (*udpbatch.Conn, error) {
	var ports []uint16
	if old := g.relay.relayAt(netip.AddrPortFrom(public, g.replaces())); old != nil && old.owner == owner {
		old.Close() // pion/turn deletes the allocation
		ports = append(ports, addrPort(old.announced).Port())
	}
	for try := range portTries {
		ports = append(ports, g.relay.credentials.key.port(owner, public, try))
	}
	for _, port := range append(ports, 0) {
		group, err := udpbatch.Listen(netip.AddrPortFrom(g.relay.binds[public], port), 1)
		if err == nil {
			return group[0], nil
		}
		if port == 0 {
			return nil, err
		}
	}
	return nil, errUser // not reached
}

// attrReplaces is the port of a relayed address of the client's, which it has
// lost by moving: the new allocation is to have it. It is from the range that
// servers that do not know it ignore (RFC 8489 section 14).
const attrReplaces = stun.AttrType(0xC0E1)

// replaces is what the request that was read last says.
func (f *front) replaces() uint16 {
	m := &stun.Message{Raw: f.request}
	if m.Decode() != nil {
		return 0
	}
	v, err := m.Get(attrReplaces)
	if err != nil || len(v) != 2 {
		return 0
	}
	return binary.BigEndian.Uint16(v)
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

// events are what pion/turn says of the front's allocations. It calls under
// locks of its own, which nothing here waits for: not to call it back.
func (f *front) events() turn.EventHandler {
	return turn.EventHandler{
		OnAllocationCreated: f.created,
		OnAllocationDeleted: f.deleted,
		OnPermissionCreated: func(src, _ net.Addr, _, _, _ string, relayed net.Addr, peer net.IP) {
			if a, ok := netip.AddrFromSlice(peer); ok {
				f.bindings(src, relayed).permit(a.Unmap())
			}
		},
		OnPermissionDeleted: func(src, _ net.Addr, _, _, _ string, relayed net.Addr, peer net.IP) {
			if a, ok := netip.AddrFromSlice(peer); ok {
				f.bindings(src, relayed).forbid(a.Unmap())
			}
		},
		OnChannelCreated: func(src, _ net.Addr, _, _, _ string, relayed, peer net.Addr, number uint16) {
			f.bindings(src, relayed).bind(number, addrPort(peer))
		},
		OnChannelDeleted: func(src, _ net.Addr, _, _, _ string, relayed, _ net.Addr, number uint16) {
			f.bindings(src, relayed).unbind(number)
		},
	}
}

// bindings are those of the client's allocation with a relayed address. An
// event may come late, when the client has another already: then they are
// nobody's.
func (f *front) bindings(client, relayed net.Addr) *bindings {
	if a := f.allocation(addrPort(client)); a != nil && a.relayed == addrPort(relayed) {
		return a.bindings
	}
	return newBindings()
}

// allocation is what the client has at the front, nil if nothing.
func (f *front) allocation(client netip.AddrPort) *allocation {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.allocations[client]
}

func (f *front) created(src, _ net.Addr, _, userID, _ string, relayAddr net.Addr, _ int) {
	owner, ok := identityOf(userID)
	if !ok {
		return
	}
	client, relayed := addrPort(src), addrPort(relayAddr)
	a := &allocation{
		owner: owner, share: f.relay.share(owner), client: client, front: f, relayed: relayed,
		conn:     f.relay.relayAt(relayed),
		release:  f.admit(owner, client),
		bindings: newBindings(),
		peers:    newRecent[netip.Addr](maxPermissions, f.relay.lives.permission),
		channels: newRecent[uint16](maxChannels, f.relay.lives.channel),
	}
	f.mu.Lock()
	old := f.allocations[client]
	f.allocations[client] = a
	f.mu.Unlock()
	if old != nil { // its end was not said yet
		old.release()
	}
	f.relay.log.Info("relay allocated", "network", owner.network.String(), "peer", owner.node.String(), "remote", client.String(), "local", relayed.String())
	if a.conn != nil {
		a.conn.serve(a)
	}
}

// admit has members of its network be relayed to where a client is, unless that is a
// proxy, until release is called.
func (f *front) admit(owner identity, client netip.AddrPort) (release func()) {
	if f.proxied {
		return func() {}
	}
	return f.relay.admitted.hold(owner.network, client.Addr())
}

// deleted comes after relayConn.Close. An allocation that is open is a newer one.
func (f *front) deleted(src, _ net.Addr, _, _, _ string) {
	client := addrPort(src)
	f.mu.Lock()
	a := f.allocations[client]
	if a == nil || a.conn != nil && !a.conn.isClosed() {
		f.mu.Unlock()
		return
	}
	delete(f.allocations, client)
	f.mu.Unlock()
	a.release()
	f.relay.log.Info("relay released", "network", a.owner.network.String(), "peer", a.owner.node.String(), "remote", client.String())
}
