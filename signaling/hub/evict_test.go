package hub

import (
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// A revoked node's traffic stops at once and its credentials are worth
// nothing; its neighbours go on, also with it once it has come again.
func TestEvict(t *testing.T) {
	h := startRelayHub(t)
	network := config.NewNetworkKey()
	victim, friend := newMember(t, network, 1), newMember(t, network, 2)
	wv, wf := dial(t, h), dial(t, h)
	wv.hello(victim, wv.withAccess(h))
	_, _, cv := wv.greeting(true)
	wf.hello(friend)
	_, _, cf := wf.greeting(true)
	expect[*signaling.Members](wv)
	expect[*signaling.Presence](wv)

	tv, tf := newTURNClient(t, h, "127.0.0.3", cv), newTURNClient(t, h, "127.0.0.4", cf)
	v, f := tv.allocate(), tf.allocate()
	v2 := newRawTURN(t, h.TURNAddr(), "127.0.0.5", cv).allocate() // it has two
	other := newTURNClient(t, h, "127.0.0.6", cf).allocate()
	for range 20 { // by indications, then by channels
		f.WriteTo([]byte("open"), v.LocalAddr())
		v.WriteTo([]byte("hello"), f.LocalAddr())
		expectPacket(t, f, "hello", v.LocalAddr())
	}

	h.evict(network.Public(), victim.node(), revokedNow)
	wv.expectError(signaling.CodeRevoked)
	if p := expect[*signaling.Presence](wf); len(p.Offline) != 1 || p.Offline[0] != victim.node() {
		t.Errorf("the others got %+v, want it offline", p)
	}
	waitFor(t, "allocations gone", func() bool {
		h.relay.mu.RLock()
		defer h.relay.mu.RUnlock()
		return len(h.allocations()) == 2 && len(h.relay.relays) == 2
	})
	v.WriteTo([]byte("still there?"), f.LocalAddr())
	other.WriteTo([]byte("open"), f.LocalAddr())
	f.WriteTo([]byte("open"), other.LocalAddr())
	other.WriteTo([]byte("others go on"), f.LocalAddr())
	for {
		f.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 100)
		n, from, err := f.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if from.String() == v.LocalAddr().String() {
			t.Fatalf("got %q from the revoked", buf[:n])
		}
		if string(buf[:n]) == "others go on" {
			break
		}
	}
	for _, method := range []stun.Method{stun.MethodRefresh, stun.MethodAllocate, stun.MethodCreatePermission} {
		if code := v2.code(method, overUDP); code != stun.CodeBadRequest {
			t.Errorf("%v with the old credentials: error %d", method, code)
		}
	}
	if _, err := newTURNClient(t, h, "127.0.0.7", cv).Allocate(); err == nil {
		t.Error("an allocation with the old credentials")
	}
	if h.admitted.allows(network.Public(), netip.MustParseAddr("127.0.0.3")) {
		t.Error("its address is still admitted")
	}
	h.evict(network.Public(), config.NewNodeKey().Public(), revokedNow) // who was never there

	// Nothing here keeps it from coming again: its record says whether it may.
	wv = dial(t, h)
	wv.hello(victim)
	if _, _, again := wv.greeting(true); again.Username == cv.Username {
		t.Error("the old credentials again")
	}
}

// An Allocate that was under way when its member was evicted gets nothing.
func TestEvictDuringAllocate(t *testing.T) {
	h := startRelayHub(t)
	id := identity{config.NewNetworkKey().Public(), config.NodeKey{1}}
	h.credentials.issue(id)
	h.relay.end(id)
	g := &generator{relay: h.relay, prefer: loopback, replaces: func() uint16 { return 0 }}
	if _, _, err := g.AllocatePacketConn(turn.AllocateListenerConfig{Network: "udp4", UserID: id.userID()}); err == nil {
		t.Error("a relay for the evicted")
	}
	if h.relay.inUse(id) || len(h.relay.relays) != 0 {
		t.Error("something is left of it")
	}
	h.credentials.issue(id)
	conn, _, err := g.AllocatePacketConn(turn.AllocateListenerConfig{Network: "udp4", UserID: id.userID()})
	if err != nil {
		t.Fatalf("with new credentials: %v", err)
	}
	conn.Close()
}

var revokedNow = &signaling.Error{Code: signaling.CodeRevoked, Message: "revoked"}
