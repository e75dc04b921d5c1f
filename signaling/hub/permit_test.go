package hub

import (
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/pion/stun/v4"
)

// The limits of one allocation: what it has may be renewed, more is refused,
// and the old make room when their time is over.
func TestPeersOfAnAllocation(t *testing.T) {
	h := startRelayHub(t)
	id := identity{config.NewNetworkKey().Public(), config.NodeKey{1}}
	cred := issue(h, id)
	c := newRawTURN(t, h.TURNAddr(), "127.0.0.3", cred).allocate()
	for _, a := range h.allocations() {
		a.peers.max, a.channels.max = 3, 4
	}
	at := func(n byte, port uint16) netip.AddrPort {
		a := netip.AddrFrom4([4]byte{127, 0, 1, n})
		h.admitted.hold(id.network, a)
		return netip.AddrPortFrom(a, port)
	}
	for i, step := range []struct {
		code, want stun.ErrorCode
	}{
		{c.bind(0x4000, at(1, 1)), 0},
		{c.bind(0x4001, at(1, 2)), 0},
		{c.bind(0x4002, at(1, 3)), 0},
		{c.bind(0x4003, at(2, 1)), 0},
		{c.bind(0x4004, at(1, 4)), stun.CodeForbidden}, // the fifth channel
		{c.bind(0x4003, at(2, 1)), 0},                  // one it has
		{c.permission(at(3, 0).Addr()), 0},
		{c.permission(at(4, 0).Addr()), stun.CodeForbidden}, // the fourth address
		{c.permission(at(1, 0).Addr()), 0},
	} {
		if step.code != step.want {
			t.Errorf("step %d: error %d, want %d", i, step.code, step.want)
		}
	}
	if n := h.drops.tooMany.Load(); n != 2 {
		t.Errorf("%d counted, want 2", n)
	}
	// Another allocation has limits of its own.
	if code := newRawTURN(t, h.TURNAddr(), "127.0.0.4", cred).allocate().permission(at(4, 0).Addr()); code != 0 {
		t.Errorf("another allocation: error %d", code)
	}
}

func TestRecent(t *testing.T) {
	s, now := newRecent[int](2, time.Minute), time.Now()
	for i, step := range []struct {
		k     int
		after time.Duration
		want  bool
	}{
		{1, 0, true}, {2, 30 * time.Second, true}, {3, 31 * time.Second, false}, {1, 40 * time.Second, true},
		{3, 89 * time.Second, false}, {3, 90 * time.Second, true}, {2, 91 * time.Second, false}, {2, 100 * time.Second, true},
	} {
		if got := s.take(step.k, now.Add(step.after)); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
