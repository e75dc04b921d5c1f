package peer

import (
	"net/netip"
	"testing"
	"time"
)

// Who only receives finds out that its NAT has another address by what does not come
// any more.
func TestReceiverNoticesItself(t *testing.T) {
	inGround(t, onPorts, []netip.AddrPort{hubAddr}, func(g *ground) {
		g.talk(g.b)
		time.Sleep(3 * time.Second)
		g.a.reset()
		g.readdress(g.ra)
		renewed := false // its connection to the hub, by which it hears
		g.k.filter(func(from *side) (bool, time.Duration) {
			renewed = renewed || from == g.a.side
			return renewed, 0
		})
		time.Sleep(8 * time.Second)
		if s := g.a.reset(); s.small > time.Second {
			t.Errorf("%v of silence", s.small)
		}
	})
}

func TestListener(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	var s listener
	missed := func(last, now int, want bool) {
		t.Helper()
		if got := s.came(at(last), at(now)); !got.IsZero() != want || want && got != at(last) {
			t.Errorf("data until %d ms, at %d: missed since %v, want %v", last, now, got, want)
		}
	}
	for ms := 0; ms < 1000; ms += 100 {
		missed(ms, ms+50, false) // no stream yet
	}
	missed(1000, 1100, true)
	s.looked()
	missed(1000, 1300, false) // looked into
	missed(1100, 1400, true)  // it went on
	missed(1100, 1100+int(flowFor/time.Millisecond), false)
	missed(3500, 3600, false) // another begins
	missed(4100, 4200, false) // with a gap that begins it again
	if !s.at(patience{}, at(4200)).After(at(4200)) {
		t.Error("it is to be looked at at once")
	}
	s = listener{}
	if !s.at(patience{}, at(0)).IsZero() || !s.came(time.Time{}, at(0)).IsZero() {
		t.Error("nothing has come, and something is missed")
	}
}
