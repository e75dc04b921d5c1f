package hub

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/udpbatch"
	"github.com/pion/stun/v4"
)

// line is a socket that sends and receives bursts, as nodes do.
type line struct {
	*udpbatch.Conn
	t    testing.TB
	run  *udpbatch.Run
	addr netip.AddrPort // its own
}

// newLine takes the socket over; what comes to it may be joined from now on.
func newLine(t testing.TB, conn *net.UDPConn) *line {
	t.Helper()
	c, err := udpbatch.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetBuffers(socketBuffer)
	return &line{c, t, udpbatch.NewRun(), addrPort(c.LocalAddr())}
}

func listenLine(t testing.TB, a netip.Addr) *line {
	t.Helper()
	return newLine(t, listenUDP(t, a))
}

func listenUDP(t testing.TB, a netip.Addr) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP(udpbatch.Network(a), net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// send sends datagrams in as few pieces as they allow.
func (l *line) send(to netip.AddrPort, datagrams ...[]byte) {
	l.run.Reset(to)
	flush := func() {
		if n, err := l.WriteRun(l.run); n != l.run.Len() {
			l.t.Fatalf("sent %d of %d: %v", n, l.run.Len(), err)
		}
		l.run.Reset(to)
	}
	for _, d := range datagrams {
		if !l.run.Fits(len(d)) {
			flush()
		}
		l.run.Append(nil, d)
	}
	flush()
}

// count waits for n datagrams, and returns how many bytes they have.
func (l *line) count(n int) (bytes int) {
	for n > 0 {
		b, err := l.ReadBatch()
		if err != nil {
			l.t.Fatalf("%d have not come: %v", n, err)
		}
		for {
			d, _, ok := b.Next()
			if !ok {
				break
			}
			n--
			bytes += len(d)
		}
		b.Release()
	}
	return bytes
}

// receive waits for n datagrams from one address.
func (l *line) receive(n int, from netip.AddrPort) (all [][]byte) {
	l.t.Helper()
	l.SetReadDeadline(time.Now().Add(patience))
	for len(all) < n {
		b, err := l.ReadBatch()
		if err != nil {
			l.t.Fatalf("%d of %d came: %v", len(all), n, err)
		}
		for {
			d, at, ok := b.Next()
			if !ok {
				break
			}
			if at != from {
				l.t.Fatalf("a datagram from %v, want %v", at, from)
			}
			all = append(all, slices.Clone(d))
		}
		b.Release()
	}
	return all
}

// caller is a member's TURN client that is a line, too.
type caller struct {
	*line
	turn    *rawTURN
	server  netip.AddrPort
	relayed netip.AddrPort
	reach   netip.AddrPort // where relayed is on this machine
	conn    *relayConn
}

// newCaller allocates at the hub.
func newCaller(t testing.TB, h *testHub, id identity, from netip.Addr, attrs ...stun.Setter) *caller {
	t.Helper()
	server := h.TURNAddr()
	if from.Is6() {
		server = netip.AddrPortFrom(loopback6, server.Port())
	}
	c := &caller{turn: newRawTURN(t, server, from.String(), issue(h, id)).allocate(attrs...), server: server}
	for _, a := range h.allocations() {
		if a.client == addrPort(c.turn.conn.LocalAddr()) {
			c.relayed, c.conn = a.relayed, a.conn
			c.reach = netip.AddrPortFrom(loopback, a.relayed.Port())
			if a.relayed.Addr().Is6() {
				c.reach = netip.AddrPortFrom(loopback6, a.relayed.Port())
			}
		}
	}
	c.line = newLine(t, c.turn.conn)
	return c
}

func (c *caller) bind(channel uint16, to netip.AddrPort) {
	c.t.Helper()
	if code := c.turn.bind(channel, to); code != 0 {
		c.t.Fatalf("channel to %v: error %d", to, code)
	}
}

// framed makes ChannelData of payloads, padded or not.
func channelData(channel uint16, padding int, payloads ...[]byte) (all [][]byte) {
	for _, p := range payloads {
		d := slices.Concat(make([]byte, channelHeader), p, make([]byte, padding))
		putChannelHeader(d, channel, len(p))
		all = append(all, d)
	}
	return all
}

// payloads have the sizes, and tell their number in each byte's place.
func payloads(sizes ...int) (all [][]byte) {
	for i, size := range sizes {
		p := make([]byte, size)
		for j := range p {
			p[j] = byte(i*31 + j*7)
		}
		all = append(all, p)
	}
	return all
}

var loopback6 = netip.IPv6Loopback()

// relayFamily is where the hub, two members and a peer are.
type relayFamily struct {
	name              string
	hub, a, b, member netip.Addr
}

// In IPv6 all are at ::1. That it is not the hub's own, it says it is elsewhere.
var relayFamilies = []relayFamily{
	{"IPv4", loopback, netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.4"), netip.MustParseAddr("127.0.0.9")},
	{"IPv6", netip.MustParseAddr("2001:db8::1"), loopback6, loopback6, loopback6},
}

// startLineHub starts a hub whose members may be anywhere.
func startLineHub(t testing.TB, public netip.Addr, tune ...func(*Hub)) *testHub {
	t.Helper()
	return startLineHubAt(t, []netip.Addr{public}, tune...)
}

func startLineHubAt(t testing.TB, public []netip.Addr, tune ...func(*Hub)) *testHub {
	t.Helper()
	if slices.ContainsFunc(public, netip.Addr.Is6) {
		probe, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback6, 0)))
		if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
			t.Skipf("no IPv6 here: %v", err)
		}
		probe.Close()
	}
	return startHub(t, Config{PublicAddrs: public, RelayRate: 1 << 40}, append(tune, func(h *Hub) {
		h.admitted.allowLoopback = true
		h.relay.setMachine(nil)
		h.relay.known.rate, h.relay.known.burst = 1e9, 1e9
	})...)
}

// twoMembers is two members of one network.
func twoMembers() (a, b identity) {
	network := config.NewNetworkKey().Public()
	return identity{network, config.NodeKey{1}}, identity{network, config.NodeKey{2}}
}

func differ(got, want [][]byte) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d datagrams, want %d", len(got), len(want))
	}
	for i := range got {
		if !slices.Equal(got[i], want[i]) {
			return fmt.Errorf("datagram %d of %d: %d bytes, want %d, or they differ", i, len(got), len(got[i]), len(want[i]))
		}
	}
	return nil
}
