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

func TestUsernames(t *testing.T) {
	secret := make([]byte, relaySecret)
	owner := identity{config.NewNetworkKey().Public(), config.NewNodeKey().Public()}
	expires := time.Unix(time.Now().Unix()+100, 0)
	cr := newRelayKey(secret).credential(owner, expires)
	again, ok := newRelayKey(secret).open(cr.username)
	if !ok || again.owner != owner || !again.expires.Equal(expires) || again.password != cr.password {
		t.Errorf("opened as %+v, %v; want %+v", again, ok, cr)
	}
	if other := newRelayKey(secret).credential(owner, expires); other.username == cr.username || other.password == cr.password {
		t.Error("two are alike")
	}
	if len(cr.username) > 508 { // RFC 8489 section 14.3
		t.Errorf("%d bytes", len(cr.username))
	}
	secret[0]++
	for _, name := range []string{"", "x", "!", cr.username} {
		if _, ok := newRelayKey(secret).open(name); ok {
			t.Errorf("%q opens under another key", name)
		}
	}
}

// What an earlier run of the hub has issued is good for members, and for nobody
// else.
func TestCredentialsOutliveTheHub(t *testing.T) {
	key := newRelayKey(make([]byte, relaySecret))
	member, stranger := identity{node: config.NodeKey{1}}, identity{node: config.NodeKey{2}}
	asked := 0
	c := newCredentials(key, func(i identity) bool { asked++; return i == member })
	allocates := func(cr *credential) bool {
		id, k, ok := c.authenticate(&turn.RequestAttributes{Username: cr.username, Method: stun.MethodAllocate})
		return ok && id == cr.owner.userID() && string(k) == string(cr.key)
	}
	life := time.Now().Add(credentialLife)
	for range 3 {
		if !allocates(key.credential(member, life)) || allocates(key.credential(stranger, life)) {
			t.Fatal("the member is refused, or the stranger let in")
		}
	}
	if asked != 4 { // the stranger once
		t.Errorf("the Store was asked %d times, want 4", asked)
	}
	if allocates(key.credential(member, time.Now().Add(-time.Second))) {
		t.Error("expired credentials allocate")
	}
	if !c.has(member) || c.has(stranger) {
		t.Error("has says otherwise")
	}
	c.forget(member)
	if allocates(key.credential(member, life)) {
		t.Error("who was thrown out allocates with what it had")
	}
	if cr := c.issue(member); c.named(cr.Username) == nil {
		t.Error("new credentials are not good")
	}
}

// A member comes back to a hub that has started anew, with what it had, and is
// given the relay that it had; who was revoked meanwhile is not.
func TestAllocateAfterRestart(t *testing.T) {
	dir := t.TempDir()
	loopback := func(h *Hub) { h.admitted.allowLoopback = true }
	h := startHub(t, Config{State: dir}, loopback)
	network := config.NewNetworkKey()
	a, b := newMember(t, network, 1), newMember(t, network, 2)
	ca := credentialsOf(t, h, a)
	cb := credentialsOf(t, h, b)
	was, other := relayOf(t, h, "127.0.0.3", ca), relayOf(t, h, "127.0.0.4", cb)
	if !was.IsValid() || !other.IsValid() || was == other {
		t.Fatalf("relays %v and %v", was, other)
	}
	revocation, err := signaling.NetworkAdmin(network).Revoke(b.node())
	if err != nil {
		t.Fatal(err)
	}
	wa := connect(t, h, a)
	wa.send(&signaling.Members{Statements: [][]byte{revocation.Bytes()}})
	wa.settled()
	h.stop()

	h = startHub(t, Config{State: dir}, loopback)
	if is := relayOf(t, h, "127.0.0.3", ca); is != was {
		t.Errorf("the relay is %v, want %v as before", is, was)
	}
	if is := relayOf(t, h, "127.0.0.4", cb); is.IsValid() {
		t.Error("a relay for who was revoked")
	}
	// It is taken: from another address it is another, unless that one has moved.
	if is := relayOf(t, h, "127.0.0.5", ca); is == was || !is.IsValid() {
		t.Errorf("the relay is %v, want another than %v", is, was)
	}
	port := attribute(attrReplaces, byte(was.Port()>>8), byte(was.Port()))
	if is := relayOf(t, h, "127.0.0.6", ca, port); is != was {
		t.Errorf("the relay is %v, want %v, which it replaces", is, was)
	}
	// It is nobody's to replace but its member's.
	if is := relayOf(t, h, "127.0.0.7", credentialsOf(t, h, newMember(t, network, 3)), port); is == was || !is.IsValid() {
		t.Errorf("another member's relay is %v, want another than %v", is, was)
	}
}

// credentialsOf has the member connect and go.
func credentialsOf(t *testing.T, h *testHub, m *member) *signaling.Credentials {
	t.Helper()
	c := dial(t, h)
	c.hello(m, c.withAccess(h))
	_, _, cred := c.greeting(true)
	c.ws.Close()
	return cred
}

// relayOf is where a new allocation is, invalid if there is none to be had.
func relayOf(t *testing.T, h *testHub, from string, cred *signaling.Credentials, attrs ...stun.Setter) netip.AddrPort {
	t.Helper()
	m := newRawTURN(t, h.TURNAddr(), from, cred).ask(stun.MethodAllocate, append(attrs, overUDP)...)
	var a stun.XORMappedAddress
	if a.GetFromAs(m, stun.AttrXORRelayedAddress) != nil {
		return netip.AddrPort{}
	}
	ip, _ := netip.AddrFromSlice(a.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port))
}
