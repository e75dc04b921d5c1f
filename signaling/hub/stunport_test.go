package hub

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/pion/stun/v4"
)

// TestSTUNPort: beside each relay address there is a port that tells who asks
// where it is seen, and says nothing to anything else.
func TestSTUNPort(t *testing.T) {
	h := startHub(t, Config{PublicAddrs: []netip.Addr{loopback, netip.IPv6Loopback()}})
	cred := issue(h, identity{config.NewNetworkKey().Public(), config.NodeKey{1}})
	if len(cred.STUN) != len(cred.Servers) {
		t.Fatalf("STUN at %v beside %v, want as many", cred.STUN, cred.Servers)
	}
	for i, server := range cred.STUN {
		if relay := cred.Servers[i]; server.Addr() != relay.Addr() || server.Port() == relay.Port() {
			t.Errorf("STUN at %v, want another port of %v", server, relay)
		}
		c := newRawTURN(t, server, server.Addr().String(), cred)
		binding := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		for _, m := range []*stun.Message{
			stun.MustBuild(stun.TransactionID, stun.BindingSuccess),
			stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassIndication)),
			stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)),
			stun.MustBuild(stun.TransactionID, stun.BindingRequest, attribute(stun.AttrChangeRequest, 0, 0, 6)),
		} {
			c.send(m)
		}
		c.conn.Write([]byte("garbage"))
		c.conn.Write(binding.Raw[:19])
		c.send(binding)
		c.conn.SetReadDeadline(time.Now().Add(patience))
		b := make([]byte, 1500)
		n, err := c.conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		answer := &stun.Message{Raw: b[:n]}
		var seen stun.XORMappedAddress
		if answer.Decode() != nil || answer.TransactionID != binding.TransactionID || seen.GetFrom(answer) != nil {
			t.Fatalf("answered with %x", b[:n])
		}
		if got := seen.String(); got != c.conn.LocalAddr().String() {
			t.Errorf("seen at %s, want %s", got, c.conn.LocalAddr())
		}
		// Binding responses on the wire: TestAmplification has as much.
		if wire := onWire(n, server) / onWire(len(binding.Raw), server); wire > 1.75 {
			t.Errorf("%d bytes were answered with %d", len(binding.Raw), n)
		}
	}
}

// TestSTUNPortLimit: both ports draw on one limit.
func TestSTUNPortLimit(t *testing.T) {
	const burst = 5
	h := startHub(t, Config{}, func(h *Hub) { h.relay.strangers.rate, h.relay.strangers.burst = 0.001, burst })
	cred := issue(h, identity{config.NewNetworkKey().Public(), config.NodeKey{1}})
	first, second := newRawTURN(t, cred.Servers[0], "127.0.0.9", cred), newRawTURN(t, cred.STUN[0], "127.0.0.9", cred)
	for range burst - 1 {
		m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		first.send(m)
		if first.read(m, patience) == nil {
			t.Fatal("no answer on the first port")
		}
	}
	last := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	second.send(last)
	if second.read(last, patience) == nil {
		t.Error("no answer on the second port, within the limit")
	}
	dropped := h.drops.strangers.Load()
	second.send(stun.MustBuild(stun.TransactionID, stun.BindingRequest))
	other := newRawTURN(t, cred.STUN[0], "127.0.0.10", cred)
	other.send(last) // one reader handles both, in their order
	if other.read(last, patience) == nil {
		t.Error("no answer to another")
	}
	if n := h.drops.strangers.Load(); n != dropped+1 {
		t.Errorf("%d dropped for the limit, want %d", n, dropped+1)
	}
}

// TestSTUNPortTaken: where the next port is taken it is another.
func TestSTUNPortTaken(t *testing.T) {
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	next := addrPort(taken.LocalAddr())
	c, err := listenNextTo(netip.AddrPortFrom(loopback, next.Port()-1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := addrPort(c.LocalAddr()); got.Addr() != loopback || got == next {
		t.Errorf("listens at %v, want another port than %v", got, next)
	}
}
