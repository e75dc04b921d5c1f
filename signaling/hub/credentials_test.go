package hub

import (
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

func TestCredentials(t *testing.T) {
	h := startRelayHub(t)
	cred := memberCredentials(t, h, config.NewNetworkKey(), 1)
	if len(cred.Servers) != 1 || cred.Servers[0] != h.TURNAddr() {
		t.Errorf("servers %v, want %v", cred.Servers, h.TURNAddr())
	}
	if life := time.Until(time.Unix(cred.Expires, 0)); life < credentialFresh || life > credentialLife {
		t.Errorf("credentials live %v", life)
	}
	newTURNClient(t, h, "127.0.0.1", cred).allocate()

	wrong := *cred
	wrong.Password += "x"
	expired := h.credentials.issue(identity{node: config.NodeKey{1}})
	h.credentials.mu.Lock()
	h.credentials.byName[expired.Username].expires = time.Now()
	h.credentials.mu.Unlock()
	for name, cred := range map[string]*signaling.Credentials{
		"stranger":       {Username: "stranger", Password: "x"},
		"wrong password": &wrong,
		"expired":        expired,
	} {
		if _, err := newTURNClient(t, h, "127.0.0.1", cred).Allocate(); err == nil {
			t.Errorf("%s: got an allocation", name)
		}
	}
}

// A flapping connection leaves no credentials behind; one that asks late gets
// new ones, and the old go on for the allocation made with them.
func TestCredentialsRenewed(t *testing.T) {
	key := newRelayKey(make([]byte, relaySecret))
	c := newCredentials(key, func(identity) bool { return false })
	a := identity{node: config.NodeKey{1}}
	first := c.issue(a)
	if again := c.issue(a); again.Username != first.Username {
		t.Error("new credentials while the old are fresh")
	}
	c.byName[first.Username].expires = time.Now().Add(credentialFresh - time.Minute)
	second := c.issue(a)
	if second.Username == first.Username || second.Password == first.Password {
		t.Error("stale credentials issued again")
	}
	c.byName[first.Username].expires = time.Now().Add(-time.Minute)
	attempt := func(method stun.Method) bool {
		id, _, ok := c.authenticate(&turn.RequestAttributes{Username: first.Username, Method: method})
		return ok && id == a.userID()
	}
	if attempt(stun.MethodAllocate) {
		t.Error("expired credentials allocate")
	}
	if !attempt(stun.MethodRefresh) || !attempt(stun.MethodCreatePermission) || !attempt(stun.MethodChannelBind) {
		t.Error("expired credentials no longer serve an allocation")
	}
	c.prune(time.Now(), func(i identity) bool { return i == a })
	if !attempt(stun.MethodRefresh) {
		t.Error("credentials in use were forgotten")
	}
	c.prune(time.Now(), func(identity) bool { return false })
	if attempt(stun.MethodRefresh) || c.byName[second.Username] == nil {
		t.Error("prune kept the expired, or took the fresh")
	}
}

func TestAskForCredentials(t *testing.T) {
	h := startHub(t, Config{})
	m := newMember(t, config.NewNetworkKey(), 1)
	c := dial(t, h)
	c.hello(m, c.withAccess(h))
	_, _, first := c.greeting(true)
	h.credentials.mu.Lock()
	h.credentials.byName[first.Username].expires = time.Now().Add(time.Hour)
	h.credentials.mu.Unlock()
	c.send(&signaling.Credentials{})
	if second := expect[*signaling.Credentials](c); second.Username == first.Username || second.Username == "" {
		t.Errorf("got username %q after %q", second.Username, first.Username)
	}
}
