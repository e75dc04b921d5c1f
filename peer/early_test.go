package peer

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/pion/stun/v4"
)

// TestHandshakeTravels: the offer takes the tunnel's initiation along, which the other
// side gets when it has the session's key; what it says to it is there before a path.
// The first check is known where it arrives before the answer to it is.
func TestHandshakeTravels(t *testing.T) {
	inLab(t, func(l *lab) {
		d := &diary{keys: make(map[string]config.PresharedKey)}
		note := func(line string) { d.add(line, config.PresharedKey{}) }
		var k *link
		k = l.pair(port(l), port(l), func(a, b *Config) {
			d.record("a", a)
			d.record("b", b)
			a.Handshake = func() []byte { return []byte("initiation") }
			b.OnHandshake = func(m []byte) { note("b has " + string(m)); k.b.SendHandshake([]byte("response")) }
			a.OnHandshake = func(m []byte) { note("a has " + string(m)) }
			b.OnSource = func(*Relay, netip.AddrPort) { note("b met a") }
			a.OnHope = func(Path) { note("a hopes") }
		})
		k.online()
		k.connected(l, PathDirect, 10*time.Second)
		all := d.take()
		order := []string{"b pending", "b answers", "b has initiation", "a agreed", "a has response", "a path"}
		for i, line := range order[1:] {
			if at, before := slices.Index(all, line), slices.Index(all, order[i]); at < 0 || before > at {
				t.Errorf("%q is not behind %q: %q", line, order[i], all)
			}
		}
		for _, line := range []string{"a hopes", "b met a"} {
			if at := slices.Index(all, line); at < 0 || at > slices.Index(all, "a path") {
				t.Errorf("%q is not before a's path: %q", line, all)
			}
		}
	})
}

// TestGuess: where the hub has seen this node it may be reached, under its port, until
// a server has said where it is.
func TestGuess(t *testing.T) {
	seen, six := netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8::9")
	for _, tt := range []struct {
		name      string
		relayOnly bool
		seen      netip.Addr
		asked     bool
		want      string // the candidate
	}{
		{"seen", false, seen, false, "198.51.100.9:7"},
		{"not seen", false, netip.Addr{}, false, ""},
		{"a server has answered", false, seen, true, testRemote.String()},
		{"an address of ours without a NAT", false, six, false, ""},
		{"nobody is to know", true, seen, false, ""},
	} {
		u := NewUnderlay(UnderlayConfig{Port: 7, RelayOnly: tt.relayOnly})
		u.SetAddresses([]netip.Addr{netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("2001:db8::8")})
		u.SetServers([]Server{{Addr: hubAddr}})
		u.SetObserved(tt.seen)
		if tt.asked {
			u.setReflexive((*u.servers.Load())[hubAddr], reflexive{mapped: testRemote, base: netip.MustParseAddr("192.168.1.2")})
		}
		got := ""
		for _, c := range candidates(u) {
			if c.Type == ServerReflexive {
				got += c.Addr.String()
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestMeet: who sends an authentic check is known when it has arrived, before its
// answer leaves and before the agent has looked; nobody else is.
func TestMeet(t *testing.T) {
	for _, tt := range []struct {
		name, pwd string
		want      int
	}{{"authentic", testPwd, 1}, {"forged", "another password of 22", 0}} {
		m, c, sent := newTestMux(t)
		met := 0
		c.checks.pwd = testPwd
		c.checks.told = func(_ *Relay, from netip.AddrPort) {
			if met++; from != testRemote || len(*sent) != 0 {
				t.Errorf("%s: told of %v after %d packets", tt.name, from, len(*sent))
			}
		}
		check := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("ours:theirs"), testRole,
			stun.NewShortTermIntegrity(tt.pwd), stun.Fingerprint)
		m.route(nil, testLocal.Addr(), testRemote, check.Raw)
		if met != tt.want || len(c.queue) != 1 {
			t.Errorf("%s: met %d times, %d delivered; want %d, 1", tt.name, met, len(c.queue), tt.want)
		}
	}
}
