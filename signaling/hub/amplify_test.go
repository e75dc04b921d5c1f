package hub

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/pion/stun/v4"
)

// What the hub says to somebody without credentials is at most twice what it
// was asked with, counted with the headers of IP and UDP. The limits of
// strangers make that harmless.
func TestAmplification(t *testing.T) {
	h := startHub(t, Config{PublicAddrs: []netip.Addr{loopback, netip.IPv6Loopback()}})
	id := identity{config.NewNetworkKey().Public(), config.NodeKey{1}}
	cred := issue(h, id)
	garbage := attribute(stun.AttrMessageIntegrity, make([]byte, 20)...)
	user := []stun.Setter{stun.NewNonce("x"), stun.NewUsername(cred.Username), stun.NewRealm(realm), garbage}
	header := func(m stun.Method, attrs ...stun.Setter) *stun.Message {
		return stun.MustBuild(append([]stun.Setter{stun.TransactionID, stun.NewType(m, stun.ClassRequest)}, attrs...)...)
	}
	requests := []struct {
		name string
		m    *stun.Message
		most float64 // times the request, on the wire
	}{
		{"Binding", header(stun.MethodBinding), 1.75},
		{"Binding, unknown attribute", header(stun.MethodBinding, attribute(0x7fff)), 1.7},
		{"Allocate", header(stun.MethodAllocate), 2.1},
		{"Refresh", header(stun.MethodRefresh), 2.1},
		{"CreatePermission", header(stun.MethodCreatePermission), 2.1},
		{"ChannelBind", header(stun.MethodChannelBind), 2.1},
		{"Connect", header(stun.MethodConnect), 2.1},
		{"Allocate, no nonce", header(stun.MethodAllocate, garbage), 1.5},
		{"Allocate, stale nonce", header(stun.MethodAllocate, user...), 1.5},
	}
	for _, server := range cred.Servers {
		c := newRawTURN(t, server, server.Addr().String(), cred)
		for _, r := range requests {
			c.send(r.m)
			answer := c.read(r.m, patience)
			if answer == nil {
				t.Errorf("%s: no answer", r.name)
				continue
			}
			payload := float64(len(answer.Raw)) / float64(len(r.m.Raw))
			wire := onWire(len(answer.Raw), server) / onWire(len(r.m.Raw), server)
			t.Logf("%-27s %3d bytes, answered with %3d: %.1f times, %.1f on the wire", r.name, len(r.m.Raw), len(answer.Raw), payload, wire)
			if wire > r.most {
				t.Errorf("%s: %.1f times the request, want %.1f", r.name, wire, r.most)
			}
		}
		// What is neither is not answered at all.
		for _, b := range []string{"", "x", "\x40\x00\x00\x04abcd", "\x00\x01", "\xff\xff\xff\xff", strings.Repeat("\x01", 1599), strings.Repeat("a", 9000)} {
			c.conn.Write([]byte(b))
		}
		c.send(header(stun.MethodSend))
		c.conn.Write(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodData, stun.ClassIndication)).Raw)
		c.conn.Write(stun.MustBuild(stun.TransactionID, stun.BindingSuccess).Raw)
		ping := header(stun.MethodBinding)
		c.send(ping)
		buf := make([]byte, 2000)
		c.conn.SetReadDeadline(time.Now().Add(patience))
		n, err := c.conn.Read(buf)
		if m := (&stun.Message{Raw: buf[:n]}); err != nil || m.Decode() != nil || m.TransactionID != ping.TransactionID {
			t.Errorf("garbage was answered with %x, %v", buf[:n], err)
		}
	}
}

// onWire is how long a datagram is with the headers of IP and UDP.
func onWire(n int, at netip.AddrPort) float64 {
	if at.Addr().Is6() {
		return float64(n + 40 + 8)
	}
	return float64(n + 20 + 8)
}

// A flood that forges many addresses gets few replies to each, and not many in
// all; nodes that the hub knows are served all the while.
func TestForgedFlood(t *testing.T) {
	const sources, each, inAll = 40, 100, 500
	h := startHub(t, Config{}, func(h *Hub) {
		h.relay.strangers.rate, h.relay.strangers.burst = 0.1, 30
		h.relay.strangers.all.SetLimit(0.1)
		h.relay.strangers.all.SetBurst(inAll)
	})
	id := identity{config.NewNetworkKey().Public(), config.NodeKey{1}}
	h.admitted.hold(id.network, netip.MustParseAddr("127.0.0.9"))
	node := newRawTURN(t, h.TURNAddr(), "127.0.0.9", issue(h, id))
	var flood []*rawTURN
	for n := range sources {
		from := net.IPv4(127, 0, 2, byte(n+1)).String()
		flood = append(flood, newRawTURN(t, h.TURNAddr(), from, issue(h, id)))
	}
	allocate := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest))
	for range each {
		for _, c := range flood {
			c.send(allocate)
		}
		node.settled()
	}
	node.allocate()
	total := 0
	for i, c := range flood {
		n := 0
		for ; c.read(allocate, 5*time.Millisecond) != nil; n++ {
		}
		if n > 31 {
			t.Errorf("source %d got %d replies to %d requests", i, n, each)
		}
		total += n
	}
	if total < inAll-50 || total > inAll+1 {
		t.Errorf("%d replies in all, want %d", total, inAll)
	}
	if n := h.drops.strangers.Load(); int(n) < sources*each-inAll-1 {
		t.Errorf("%d counted", n)
	}
}

// More sources than are remembered share a limit; what is remembered has an end.
func TestFloodOfSources(t *testing.T) {
	s := newStrangers(strangerRate, strangerBurst)
	allowed := 0
	for n := range uint32(2 * maxSources) {
		a := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n+1<<24)))
		if s.allow(a) {
			allowed++
		}
	}
	if len(s.sources) > maxSources+1 {
		t.Errorf("%d sources remembered", len(s.sources))
	}
	if allowed < maxSources || allowed > maxSources+10*strangerBurst {
		t.Errorf("%d of %d allowed, want little more than %d", allowed, 2*maxSources, maxSources)
	}
	s.prune(time.Now().Add(2 * strangerForget))
	if len(s.sources) != 0 {
		t.Errorf("%d sources remembered after all", len(s.sources))
	}
}
