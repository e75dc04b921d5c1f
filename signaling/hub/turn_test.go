package hub

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// startRelayHub starts a hub whose members may come from 127.0.0.0/8. Its own
// address there is 127.0.0.1.
func startRelayHub(t *testing.T) *testHub {
	return startHub(t, Config{}, func(h *Hub) { h.admitted.allowLoopback = true })
}

// turnClient is a member's TURN client with its socket at some address.
type turnClient struct {
	*turn.Client
	t testing.TB
}

func newTURNClient(t testing.TB, h *testHub, from string, cred *signaling.Credentials) *turnClient {
	t.Helper()
	return newTURNClientTo(t, h.TURNAddr(), from, cred)
}

func newTURNClientTo(t testing.TB, server netip.AddrPort, from string, cred *signaling.Credentials) *turnClient {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(from, "0"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server.String(), TURNServerAddr: server.String(),
		Conn: conn, Username: cred.Username, Password: cred.Password, Realm: realm,
		LoggerFactory: &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		conn.Close()
	})
	return &turnClient{c, t}
}

// allocate returns the relayed socket.
func (c *turnClient) allocate() net.PacketConn {
	c.t.Helper()
	relay, err := c.Allocate()
	if err != nil {
		c.t.Fatalf("allocate: %v", err)
	}
	c.t.Cleanup(func() { relay.Close() })
	return relay
}

// member connects as a new member and returns its TURN credentials.
func memberCredentials(t testing.TB, h *testHub, network config.NetworkPrivateKey, n int) *signaling.Credentials {
	t.Helper()
	c := dial(t, h)
	c.hello(newMember(t, network, n), c.withAccess(h))
	_, _, cred := c.greeting(true)
	return cred
}

func expectPacket(t testing.TB, c net.PacketConn, want string, from net.Addr) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 2000)
	n, addr, err := c.ReadFrom(buf)
	if err != nil {
		t.Fatalf("want %q: %v", want, err)
	}
	if string(buf[:n]) != want || from != nil && addr.String() != from.String() {
		t.Fatalf("got %q from %v, want %q from %v", buf[:n], addr, want, from)
	}
}

func TestSTUN(t *testing.T) {
	h := startRelayHub(t)
	c := newTURNClient(t, h, "127.0.0.5", &signaling.Credentials{})
	mapped, err := c.SendBindingRequest()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(mapped.String(), "127.0.0.5:") {
		t.Errorf("mapped address %v, want 127.0.0.5", mapped)
	}
}

// Two relays of one network reach each other inside the hub, by Send
// indications first and by channels then; the sender seen is the relay.
func TestRelayToRelay(t *testing.T) {
	h := startRelayHub(t)
	network := config.NewNetworkKey()
	a := newTURNClient(t, h, "127.0.0.3", memberCredentials(t, h, network, 1)).allocate()
	b := newTURNClient(t, h, "127.0.0.4", memberCredentials(t, h, network, 2)).allocate()
	for i := range 50 {
		if _, err := a.WriteTo([]byte("to b"), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // b's permission may be later than a's first packet
			b.WriteTo([]byte("hello"), a.LocalAddr())
			expectPacket(t, a, "hello", b.LocalAddr())
			a.WriteTo([]byte("to b"), b.LocalAddr())
		}
		expectPacket(t, b, "to b", a.LocalAddr())
		if _, err := b.WriteTo([]byte("to a"), a.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		expectPacket(t, a, "to a", b.LocalAddr())
	}
	if n := h.drops.fromHub.Load(); n != 0 {
		t.Errorf("%d packets went over a socket", n)
	}
}

// Relays of two networks do not, nor does a relay reach the hub's own ports.
func TestRelayToHubIsDropped(t *testing.T) {
	h := startRelayHub(t)
	a := newTURNClient(t, h, "127.0.0.3", memberCredentials(t, h, config.NewNetworkKey(), 1)).allocate()
	b := newTURNClient(t, h, "127.0.0.4", memberCredentials(t, h, config.NewNetworkKey(), 2)).allocate()
	service, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()

	b.WriteTo([]byte("opens b to a"), a.LocalAddr())
	targets := []net.Addr{b.LocalAddr(), service.LocalAddr(), net.UDPAddrFromAddrPort(h.TURNAddr())}
	for _, to := range targets {
		if _, err := a.WriteTo([]byte("x"), to); err != nil {
			t.Fatalf("to %v: %v", to, err)
		}
	}
	waitFor(t, "dropped packets", func() bool { return h.drops.toHub.Load() >= uint64(len(targets))+1 })
	for _, c := range []net.PacketConn{b, service} {
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, from, err := c.ReadFrom(make([]byte, 100)); err == nil {
			t.Errorf("%v got %d bytes from %v", c.LocalAddr(), n, from)
		}
	}
	// Nor does a relay take what comes from the hub's own address.
	service.WriteTo([]byte("x"), a.LocalAddr())
	waitFor(t, "packet from the hub dropped", func() bool { return h.drops.fromHub.Load() == 1 })
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// A peer outside is reached while a member of the network comes from there.
func TestRelayToMemberAddress(t *testing.T) {
	h := startRelayHub(t)
	network := config.NewNetworkKey()
	client := newTURNClient(t, h, "127.0.0.3", memberCredentials(t, h, network, 1))
	a := client.allocate()
	peer, err := net.ListenPacket("udp4", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if err := client.CreatePermission(peer.LocalAddr()); !isCode(err, stun.CodeForbidden) {
		t.Fatalf("no member is there yet: got %v, want %d", err, stun.CodeForbidden)
	}

	// Another network's member there changes nothing, this network's does.
	memberFrom(t, h, "127.0.0.9", newMember(t, config.NewNetworkKey(), 2))
	if err := client.CreatePermission(peer.LocalAddr()); !isCode(err, stun.CodeForbidden) {
		t.Fatalf("another network's member: got %v", err)
	}
	ws := memberFrom(t, h, "127.0.0.9", newMember(t, network, 3))
	if _, err := a.WriteTo([]byte("out"), peer.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	expectPacket(t, peer, "out", a.LocalAddr())
	peer.WriteTo([]byte("in"), a.LocalAddr())
	expectPacket(t, a, "in", peer.LocalAddr())

	// When it goes, so does the right to a new permission.
	ws.ws.Close()
	waitFor(t, "address released", func() bool { return !h.admitted.allows(network.Public(), netip.MustParseAddr("127.0.0.9")) })
	if err := client.CreatePermission(peer.LocalAddr()); !isCode(err, stun.CodeForbidden) {
		t.Fatalf("after it went: got %v", err)
	}
	// The address a TURN client comes from is a member's too.
	if err := client.CreatePermission(net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.3:1"))); err != nil {
		t.Errorf("its own address: %v", err)
	}
}

func isCode(err error, code stun.ErrorCode) bool {
	return err != nil && strings.Contains(err.Error(), fmt.Sprintf("error %d", code))
}

// memberFrom connects a member whose WebSocket comes from the address.
func memberFrom(t testing.TB, h *testHub, from string, m *member) *wsClient {
	t.Helper()
	d := websocket.Dialer{
		Subprotocols: []string{signaling.Subprotocol}, TLSClientConfig: anyCertificate,
		NetDial: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial,
	}
	ws, _, err := d.Dial(h.url(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := newWSClient(t, ws)
	c.hello(m, c.withAccess(h))
	c.greeting(true)
	return c
}

// Behind a proxy the socket's address is not the node's.
func TestProxiedAddressIsNotAdmitted(t *testing.T) {
	h := startRelayHub(t)
	network := config.NewNetworkKey()
	ws, _, err := dialWith(h, signaling.Subprotocol, map[string][]string{"X-Forwarded-For": {"203.0.113.9"}})
	if err != nil {
		t.Fatal(err)
	}
	c := newWSClient(t, ws)
	c.hello(newMember(t, network, 1), c.withAccess(h))
	if w := expect[*signaling.Welcome](c); w.Observed != "" {
		t.Errorf("observed %q", w.Observed)
	}
	expect[*signaling.Members](c)
	expect[*signaling.Presence](c)
	for _, a := range []string{"127.0.0.1", "203.0.113.9"} {
		if h.admitted.allows(network.Public(), netip.MustParseAddr(a)) {
			t.Errorf("%s is admitted", a)
		}
	}
}

func TestAllocationQuota(t *testing.T) {
	h := startRelayHub(t)
	cred := memberCredentials(t, h, config.NewNetworkKey(), 1)
	var relays []net.PacketConn
	for range allocationsPerServer {
		relays = append(relays, newTURNClient(t, h, "127.0.0.1", cred).allocate())
	}
	one := newTURNClient(t, h, "127.0.0.1", cred)
	if _, err := one.Allocate(); err == nil {
		t.Fatal("one more than the quota")
	}
	relays[0].Close() // by a Refresh of lifetime 0
	waitFor(t, "allocation released", func() bool {
		h.relay.mu.RLock()
		defer h.relay.mu.RUnlock()
		return len(h.allocations()) == allocationsPerServer-1 && len(h.relay.relays) == allocationsPerServer-1
	})
	one.allocate()
}

// Closing the relay's socket ends the allocation, as for a revoked member.
func TestEndAllocation(t *testing.T) {
	h := startRelayHub(t)
	network := config.NewNetworkKey()
	a := newTURNClient(t, h, "127.0.0.3", memberCredentials(t, h, network, 1)).allocate()
	from := netip.MustParseAddr("127.0.0.3")
	if !h.admitted.allows(network.Public(), from) {
		t.Error("the client's address is not admitted")
	}
	h.relay.mu.RLock()
	c := h.relay.relays[addrPort(a.LocalAddr())]
	h.relay.mu.RUnlock()
	c.Close()
	waitFor(t, "allocation deleted", func() bool {
		h.relay.mu.RLock()
		defer h.relay.mu.RUnlock()
		return len(h.allocations()) == 0 && len(h.relay.relays) == 0
	})
	if h.admitted.allows(network.Public(), from) {
		t.Error("the client's address is still admitted")
	}
}

// TCP relays, even ports and ports of the client's choice are refused.
func TestAllocateRefuses(t *testing.T) {
	h := startRelayHub(t)
	g := &generator{relay: h.relay, prefer: loopback, replaces: func() uint16 { return 0 }}
	id := identity{node: config.NodeKey{1}}.userID()
	tests := []struct {
		name string
		conf turn.AllocateListenerConfig
		want error
	}{
		{"no member", turn.AllocateListenerConfig{Network: "udp4"}, errUser},
		{"port", turn.AllocateListenerConfig{Network: "udp4", UserID: id, RequestedPort: 5000}, errUser},
		{"other family", turn.AllocateListenerConfig{Network: "udp6", UserID: id}, errNoFamily},
	}
	for _, tt := range tests {
		if _, _, err := g.AllocatePacketConn(tt.conf); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, _, err := g.AllocateListener(turn.AllocateListenerConfig{Network: "tcp4", UserID: id}); err == nil {
		t.Error("TCP relay")
	}
	if _, err := g.AllocateConn(turn.AllocateConnConfig{Network: "tcp4", UserID: id}); err == nil {
		t.Error("TCP connection")
	}
}

// A stranger is answered only so often: the replies are larger than forged
// requests.
func TestStrangersAreLimited(t *testing.T) {
	h := startRelayHub(t)
	conn, err := net.Dial("udp4", h.TURNAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	allocate := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest))
	for range 3 * strangerBurst {
		if _, err := conn.Write(allocate.Raw); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "replies dropped", func() bool { return h.drops.strangers.Load() > strangerBurst })
	conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	buf := make([]byte, 1500)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	m := &stun.Message{Raw: buf[:n]}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	if m.Contains(stun.AttrSoftware) {
		t.Error("the reply tells the software")
	}
}

// Behind a router that maps its public address, the hub binds what it has and
// announces what it is known by; its relays reach each other nevertheless.
func TestRelayBehindRouter(t *testing.T) {
	public := netip.MustParseAddr("192.0.2.1")
	h := startHub(t, Config{PublicAddrs: []netip.Addr{public}})
	network := config.NewNetworkKey()
	relays := make([]net.PacketConn, 2)
	for i := range relays {
		cred := memberCredentials(t, h, network, i+1)
		if cred.Servers[0].Addr() != public {
			t.Errorf("server %v, want %v", cred.Servers[0], public)
		}
		relays[i] = newTURNClientTo(t, netip.AddrPortFrom(loopback, h.TURNAddr().Port()), "127.0.0.1", cred).allocate()
		if a := addrPort(relays[i].LocalAddr()).Addr(); a != public {
			t.Errorf("relayed address %v, want %v", a, public)
		}
	}
	relays[1].WriteTo([]byte("open"), relays[0].LocalAddr())
	relays[0].WriteTo([]byte("in the hub"), relays[1].LocalAddr())
	expectPacket(t, relays[1], "in the hub", relays[0].LocalAddr())
}

func TestRelayIPv6(t *testing.T) {
	v6 := netip.IPv6Loopback()
	probe, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(v6, 0)))
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	probe.Close()
	h := startHub(t, Config{PublicAddrs: []netip.Addr{loopback, v6}}, func(h *Hub) { h.admitted.allowLoopback = true })
	network := config.NewNetworkKey()
	cred := memberCredentials(t, h, network, 1)
	if len(cred.Servers) != 2 || cred.Servers[1].Addr() != v6 || cred.Servers[0].Port() != cred.Servers[1].Port() {
		t.Fatalf("servers %v, want both families on one port", cred.Servers)
	}
	a := newTURNClientTo(t, cred.Servers[1], "::1", cred).allocate()
	b := newTURNClientTo(t, cred.Servers[1], "::1", memberCredentials(t, h, network, 2)).allocate()
	if got := addrPort(a.LocalAddr()).Addr(); got != v6 {
		t.Fatalf("relayed address %v, want %v", got, v6)
	}
	b.WriteTo([]byte("open"), a.LocalAddr())
	a.WriteTo([]byte("six"), b.LocalAddr())
	expectPacket(t, b, "six", a.LocalAddr())
}
