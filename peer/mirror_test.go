package peer

import (
	"net/netip"
	"testing"
	"time"
)

// What one peer sees is an address; what two see differently at a time is none.
func TestMirror(t *testing.T) {
	now := time.Now()
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	one, two := at("203.0.113.1:1000"), at("203.0.113.1:2000")
	p, q := at("192.0.2.1:1"), at("192.0.2.2:1")
	m := mirror{}.see(one, p, now)
	if m.mapped != one {
		t.Fatalf("seen %v, is %v", one, m.mapped)
	}
	if m = m.see(two, p, now); m.mapped != two {
		t.Errorf("a mapping that changed is %v, want %v", m.mapped, two)
	}
	if m = m.see(two, q, now); m.mapped != two || m.none {
		t.Errorf("a second that sees the same makes it %+v", m)
	}
	if got := m.see(one, p, now.Add(mirrorFor)); got.mapped != one {
		t.Errorf("after a while it is %v, want the newest %v", got.mapped, one)
	}
	if got := m.see(one, p, now.Add(time.Second)); got.mapped.IsValid() || got.see(one, p, now).mapped.IsValid() {
		t.Errorf("a mapping for each peer is %+v, want none", got)
	}
}
