package peer

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

var (
	testRemote = netip.MustParseAddrPort("198.51.100.1:9")
	testLocal  = netip.MustParseAddrPort("192.0.2.1:1")
	testPwd    = "0123456789012345678901"
	testRole   = ice.AttrControl{Role: ice.Controlled, Tiebreaker: 1}
)

// newTestMux returns a mux with one session and its one conn, and what it
// sends.
func newTestMux(t *testing.T) (m *mux, c *conn, sent *[][]byte) {
	t.Helper()
	sent = new([][]byte)
	m = newMux(socketFunc(func(b []byte, _ netip.Addr, _ netip.AddrPort) error {
		*sent = append(*sent, append([]byte(nil), b...))
		return nil
	}), &drops{})
	s := newChecks("ours", func() {}, func(*Relay, netip.AddrPort) {})
	s.setRemote("theirs", testPwd)
	if !m.register(s) || m.register(newChecks("ours", nil, nil)) {
		t.Fatal("register: want the first and not the second of one name")
	}
	candidate, err := Candidate{Type: Host, Addr: testLocal}.build(1)
	if err != nil {
		t.Fatal(err)
	}
	c = newConn(m, s, candidate, testLocal, nil)
	s.addConn(c)
	return m, c, sent
}

// sendCheck sends a check over c as its agent would, and returns it.
func sendCheck(t *testing.T, c *conn) *stun.Message {
	t.Helper()
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("theirs:ours"), testRole,
		stun.NewShortTermIntegrity(testPwd), stun.Fingerprint)
	if n, err := c.WriteToAddrPort(m.Raw, testRemote); err != nil || n != len(m.Raw) {
		t.Fatalf("write: %d, %v", n, err)
	}
	return m
}

func response(m *stun.Message, pwd string) []byte {
	return stun.MustBuild(m, stun.BindingSuccess, stun.NewShortTermIntegrity(pwd), stun.Fingerprint).Raw
}

func TestMuxResponses(t *testing.T) {
	other := netip.MustParseAddrPort("198.51.100.66:9")
	tests := []struct {
		name  string
		relay *Relay
		local netip.Addr
		from  netip.AddrPort
		pwd   string
		valid bool
	}{
		{"as asked", nil, testLocal.Addr(), testRemote, testPwd, true},
		{"local address not known", nil, netip.Addr{}, testRemote, testPwd, true},
		{"from elsewhere", nil, testLocal.Addr(), other, testPwd, false},
		{"to another address", nil, netip.MustParseAddr("192.0.2.7"), testRemote, testPwd, false},
		{"over a relay", &Relay{}, netip.Addr{}, testRemote, testPwd, false},
		{"wrong password", nil, testLocal.Addr(), testRemote, "another password of 22", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, c, _ := newTestMux(t)
			q := sendCheck(t, c)
			m.route(tt.relay, tt.local, tt.from, response(q, tt.pwd))
			if _, ok := c.checks.best(time.Now(), verdict{}); ok != tt.valid || len(c.queue) == 1 != tt.valid {
				t.Fatalf("valid %v, %d delivered, want valid %v", ok, len(c.queue), tt.valid)
			}
			// What was false did not use up the request.
			m.route(nil, testLocal.Addr(), testRemote, response(q, testPwd))
			if _, ok := c.checks.best(time.Now(), verdict{}); !ok {
				t.Error("the true response does not count after a false one")
			}
			m.route(nil, testLocal.Addr(), testRemote, response(q, testPwd))
			if got := len(c.queue); got != 1 {
				t.Errorf("%d delivered, want the response once", got)
			}
		})
	}
}

func TestMuxOwnCheckIsNotTheAgents(t *testing.T) {
	m, c, sent := newTestMux(t)
	c.ask(testRemote, testRole)
	q := stun.Message{Raw: (*sent)[0]}
	if err := q.Decode(); err != nil {
		t.Fatal(err)
	}
	var role ice.AttrControl
	var prio ice.PriorityAttr
	if role.GetFrom(&q) != nil || role != testRole || prio.GetFrom(&q) != nil || prio>>24 != prefPeerReflexive ||
		string(stunUsername(q.Raw)) != "theirs:ours" || stun.NewShortTermIntegrity(testPwd).Check(&q) != nil || stun.Fingerprint.Check(&q) != nil {
		t.Errorf("the check %s is not as RFC 8445 section 7.2.2 says", &q)
	}
	m.route(nil, testLocal.Addr(), testRemote, response(&q, testPwd))
	if _, ok := c.checks.best(time.Now(), verdict{}); !ok || len(c.queue) != 0 {
		t.Errorf("valid %v, %d delivered, want a valid pair and nothing for the agent", ok, len(c.queue))
	}
}

func TestMuxRequests(t *testing.T) {
	check := func(username string) []byte {
		return stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername(username)).Raw
	}
	tests := []struct {
		name      string
		local     netip.Addr
		b         []byte
		delivered int
	}{
		{"ours", testLocal.Addr(), check("ours:theirs"), 1},
		{"local address not known", netip.Addr{}, check("ours:theirs"), 1},
		{"another address", netip.MustParseAddr("192.0.2.7"), check("ours:theirs"), 0},
		{"unknown", testLocal.Addr(), check("their:ours"), 0},
		{"no name", testLocal.Addr(), check(""), 0},
	}
	for _, tt := range tests {
		m, c, _ := newTestMux(t)
		m.route(nil, tt.local, testRemote, tt.b)
		if got := len(c.queue); got != tt.delivered {
			t.Errorf("%s: %d delivered, want %d", tt.name, got, tt.delivered)
		}
	}
}

func TestMuxRefusesFurtherSources(t *testing.T) {
	m, c, _ := newTestMux(t)
	for i := range maxRemotes {
		c.checks.asked(pairKey{c, netip.AddrPortFrom(testRemote.Addr(), uint16(1000+i))}, 1, time.Time{}, time.Time{})
	}
	m.route(nil, testLocal.Addr(), testRemote, stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("ours:x")).Raw)
	if len(c.queue) != 0 || m.drops.overflow.Load() != 1 {
		t.Errorf("%d delivered from one address too many", len(c.queue))
	}
}

func TestMuxIsBounded(t *testing.T) {
	m, c, _ := newTestMux(t)
	c.checks.asked(pairKey{c, testRemote}, 1, time.Time{}, time.Time{}) // so no check is too soon
	for range maxSent + 100 {
		sendCheck(t, c)
	}
	if len(m.requests) != maxSent || len(m.order[c.checks]) != maxSent {
		t.Errorf("%d requests remembered, want %d", len(m.requests), maxSent)
	}
	for range connQueue + 10 {
		m.route(nil, testLocal.Addr(), testRemote, stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("ours:x")).Raw)
	}
	if len(c.queue) != connQueue || m.drops.overflow.Load() != 10 {
		t.Errorf("%d queued, %d overflown", len(c.queue), m.drops.overflow.Load())
	}
	m.unregister(c.checks)
	if len(m.requests) != 0 || len(m.order) != 0 || len(m.sessions) != 0 {
		t.Error("something is left of the session")
	}
	sendCheck(t, c) // of an agent that is about to end
	if len(m.requests) != 0 {
		t.Error("a request of an ended session is remembered")
	}
}

func TestConnEnds(t *testing.T) {
	_, c, _ := newTestMux(t)
	done := make(chan error)
	go func() {
		_, _, err := c.ReadFrom(make([]byte, 100))
		done <- err
	}()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := <-done; err != net.ErrClosed {
		t.Errorf("read: %v, want net.ErrClosed", err)
	}
	if _, err := c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(testRemote)); err != net.ErrClosed {
		t.Errorf("write: %v, want net.ErrClosed", err)
	}
}

// FuzzHandle gives the underlay what may arrive from anywhere.
func FuzzHandle(f *testing.F) {
	sent := make(chan struct{}, 1)
	u := NewUnderlay(UnderlayConfig{Port: 1, Socket: socketFunc(func([]byte, netip.Addr, netip.AddrPort) error {
		signal(sent)
		return nil
	})})
	u.SetAddresses([]netip.Addr{testLocal.Addr()})
	u.SetServers([]Server{{Addr: hubAddr}})
	g, err := newGeneration(u, func() {}, func(_ *Relay, a netip.AddrPort) { panic("a stranger was authenticated: " + a.String()) }, noTunnel{}.Heard)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(g.close)
	if err := g.start(description{Ufrag: "theirs", Pwd: testPwd}, true, time.Now()); err != nil {
		f.Fatal(err)
	}
	pwd := stun.NewShortTermIntegrity("not the password we have")
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername(g.ufrag+":theirs"), pwd, stun.Fingerprint).Raw, false, true)
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.IPv4(1, 2, 3, 4), Port: 5}, pwd).Raw, true, true)
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingError, stun.CodeRoleConflict, pwd).Raw, false, false)
	f.Add([]byte{0x40, 0, 0, 4, 1, 2, 3, 4}, true, true)
	f.Fuzz(func(t *testing.T, b []byte, server, local bool) {
		from, to := testRemote, netip.Addr{}
		if server {
			from = hubAddr
		}
		if local {
			to = testLocal.Addr()
		}
		u.Handle(b, to, from)
		u.relayed(nil, from, b)
		if _, ok := g.checks.best(time.Now(), verdict{}); ok {
			t.Fatal("a pair became valid")
		}
	})
}

// TestSourceBeforeResponse: the peer may send data as soon as it has the
// response to its check, so its address has to be known before that leaves.
func TestSourceBeforeResponse(t *testing.T) {
	var order []string
	_, c, _ := newTestMux(t)
	c.mux.socket = socketFunc(func([]byte, netip.Addr, netip.AddrPort) error {
		order = append(order, "response")
		return nil
	})
	c.checks.told = func(r *Relay, a netip.AddrPort) {
		if r != nil || a != testRemote {
			t.Errorf("source %v over %v, want %v", a, r, testRemote)
		}
		order = append(order, "source")
	}
	m := stun.MustBuild(stun.TransactionID, stun.BindingSuccess, stun.Fingerprint)
	if _, err := c.WriteToAddrPort(m.Raw, testRemote); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, ", "); got != "source, response" {
		t.Errorf("order: %s", got)
	}
}
