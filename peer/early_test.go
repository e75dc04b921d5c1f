package peer

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
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
		{"no address of that family", false, six, false, ""},
		{"nobody is to know", true, seen, false, ""},
	} {
		u := NewUnderlay(UnderlayConfig{Port: 7, RelayOnly: tt.relayOnly})
		u.SetAddresses([]netip.Addr{netip.MustParseAddr("192.168.1.2")})
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
