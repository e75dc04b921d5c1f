package peer

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestMeasure(t *testing.T) {
	var m measure
	if m.cost() != time.Hour {
		t.Errorf("cost %v of a way that was never measured", m.cost())
	}
	m.answered(40*time.Millisecond, 0)
	m.answered(80*time.Millisecond, 0)
	if m.rtt != 50*time.Millisecond || m.cost() != m.rtt {
		t.Errorf("%+v, want 50ms and no loss", m)
	}
	m.answered(50*time.Millisecond, 1)
	if m.loss != weight/2 || m.cost() <= m.rtt {
		t.Errorf("%+v cost %v, want a loss that costs", m, m.cost())
	}
}

func TestRelaysToHold(t *testing.T) {
	const ms = time.Millisecond
	now := time.Unix(1000, 0)
	long := now.Add(-aheadFor)
	way := func(rtt time.Duration) measure { return measure{rtt: rtt} }
	silent := func(rtt time.Duration) measure { return measure{rtt: rtt, silent: true} }
	up := func(m measure) standing { return standing{measure: m, held: true, allocated: true} }
	busy := func(s standing) standing { s.busy = true; return s }
	tests := []struct {
		name string
		all  []standing
		want string // of each, whether it is held
	}{
		{"no more than needed, however they do", []standing{{}, {failed: true}}, "++"},
		{"nothing is known", []standing{{}, {}, {}}, "---"},
		{"the first to answer", []standing{{}, {measure: way(90 * ms)}, {}}, "-+-"},
		{"the best two", []standing{{measure: way(30 * ms)}, {measure: way(10 * ms)}, {measure: way(20 * ms)}}, "-++"},
		{"one that is about to allocate counts", []standing{{measure: way(30 * ms)}, {measure: way(90 * ms), held: true}, {measure: way(20 * ms)}}, "-++"},
		{"better, but not for long", []standing{up(way(30 * ms)), up(way(90 * ms)), {measure: way(20 * ms), ahead: now.Add(-time.Second)}}, "++-"},
		{"better for long: made before the other breaks", []standing{up(way(30 * ms)), up(way(90 * ms)), {measure: way(20 * ms), ahead: long}}, "+++"},
		{"hardly better", []standing{up(way(30 * ms)), up(way(31 * ms)), {measure: way(26500 * time.Microsecond), ahead: long}}, "++-"},
		{"better by a fifth, but of little", []standing{up(way(2 * ms)), up(way(4 * ms)), {measure: way(1 * ms), ahead: long}}, "++-"},
		{"made: the worst goes", []standing{up(way(30 * ms)), up(way(90 * ms)), up(way(20 * ms))}, "+-+"},
		{"unless it carries something", []standing{up(way(30 * ms)), busy(up(way(90 * ms))), up(way(20 * ms))}, "+++"},
		{"no fourth", []standing{busy(up(way(30 * ms))), busy(up(way(90 * ms))), busy(up(way(25 * ms))), {measure: way(ms), ahead: long}}, "+++-"},
		{"one falls silent: the next, though worse", []standing{up(silent(10 * ms)), up(way(20 * ms)), {measure: way(90 * ms)}}, "+++"},
		{"the next is there", []standing{up(silent(10 * ms)), up(way(20 * ms)), up(way(90 * ms))}, "-++"},
		{"refused: the next", []standing{{measure: way(10 * ms), held: true, failed: true}, up(way(20 * ms)), {measure: way(90 * ms)}}, "+++"},
		{"nobody else answers", []standing{up(silent(10 * ms)), up(way(20 * ms)), {measure: silent(90 * ms)}}, "++-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var all []*standing
			for i := range tt.all {
				s := &tt.all[i]
				s.server = &server{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 3478)}
				all = append(all, s)
			}
			order := slices.Clone(all)
			hold(order, now)
			got := ""
			for _, s := range all {
				got += map[bool]string{true: "+", false: "-"}[s.held]
			}
			if got != tt.want {
				t.Errorf("held %s, want %s", got, tt.want)
			}
		})
	}
}

// held is the relays that a node has, by server.
func (n *node) held() map[netip.AddrPort]*Relay {
	held := make(map[netip.AddrPort]*Relay)
	for _, c := range candidates(n.underlay) {
		if c.Relay != nil {
			held[c.Relay.Server()] = c.Relay
		}
	}
	return held
}

// threeRelays has the nodes know three, of which the hub's is the nearest.
func threeRelays(l *lab, nodes ...*node) (far, farther netip.AddrPort) {
	l.t.Helper()
	far, farther = l.otherTURN("203.0.113.2"), l.otherTURN("203.0.113.3")
	l.delay(map[netip.Addr]time.Duration{far.Addr(): 20 * time.Millisecond, farther.Addr(): 40 * time.Millisecond})
	for _, n := range nodes {
		n.underlay.SetServers([]Server{{Addr: farther, Username: "u", Password: "secret"}, {Addr: far, Username: "u", Password: "secret"}, {Addr: hubAddr, Username: "u", Password: "secret"}})
	}
	for _, n := range nodes {
		l.until(time.Second, "the nearest two are held", func() bool {
			held := n.held()
			return len(held) == 2 && held[hubAddr] != nil && held[far] != nil
		})
	}
	return far, farther
}

// When one of two relays falls silent the next is allocated, and nothing waits
// for the dead one.
func TestDeadRelayIsReplaced(t *testing.T) {
	inLab(t, func(l *lab) {
		a, b := symmetric(l), symmetric(l)
		_, farther := threeRelays(l, a, b)
		k := l.pair(a, b)
		k.online()
		k.connected(l, PathRelayed, time.Second)
		time.Sleep(15 * time.Second)
		l.lose(func(from, to netip.AddrPort, _ []byte) bool {
			return from.Addr() == hubAddr.Addr() || to.Addr() == hubAddr.Addr()
		})
		took := l.until(time.Second, "data passes", func() bool {
			k.a.sendData("on")
			return b.received("on")
		})
		t.Logf("data passes %v after the relay was cut", took)
		took = l.until(probeEvery, "the third is held", func() bool { return a.held()[farther] != nil })
		t.Logf("the third is held %v later", took)
		l.until(10*time.Minute, "the dead one is given up", func() bool { return a.held()[hubAddr] == nil && len(a.held()) == 2 })
		l.lose(nil)
		l.until(5*time.Minute, "the nearest is held again", func() bool { return a.held()[hubAddr] != nil })
	})
}

// A relay that has become better is made before a worse one is given up, and
// that is not, as long as somebody sends through it.
func TestBetterRelayIsTaken(t *testing.T) {
	inLab(t, func(l *lab) {
		a, to := public(l), public(l)
		far, farther := threeRelays(l, a)
		old := a.held()[far]
		use := func() { _ = old.Send([]byte{4, 0, 0, 0}, to.addr) }
		use()
		l.delay(map[netip.Addr]time.Duration{far.Addr(): 20 * time.Millisecond})
		took := l.until(5*time.Minute, "the third is held", func() bool { use(); return a.held()[farther] != nil })
		t.Logf("the third is held after %v", took)
		for range 5 {
			time.Sleep(20 * time.Second)
			if use(); old.lost() || len(a.held()) != 3 {
				t.Fatal("a relay in use was given up")
			}
		}
		took = l.until(3*time.Minute, "the worse one is given up", old.lost)
		t.Logf("the worse one is given up %v after its use", took)
		time.Sleep(10 * time.Minute)
		if held := a.held(); len(held) != 2 || held[hubAddr] == nil || held[farther] == nil {
			t.Errorf("%d relays held, want the two nearest", len(held))
		}
	})
}

// The tunnels that a relay carries move to a better one, and then it is given up:
// that checks go on through it does not matter.
func TestTunnelsMoveToBetterRelay(t *testing.T) {
	inLab(t, func(l *lab) {
		a, b := symmetric(l), symmetric(l)
		far, farther := threeRelays(l, a, b)
		k := l.pair(a, b)
		k.online()
		k.connected(l, PathRelayed, time.Second)
		l.delay(map[netip.Addr]time.Duration{far.Addr(): 20 * time.Millisecond, hubAddr.Addr(): 30 * time.Millisecond})
		took := l.until(time.Hour, "moved", func() bool {
			k.a.sendData("a")
			k.b.sendData("b")
			time.Sleep(10 * time.Second)
			held := a.held()
			return len(held) == 2 && held[farther] != nil && held[hubAddr] == nil
		})
		t.Logf("moved after %v", took)
		if lost := k.stream(l, 10*time.Second); lost > 0 {
			t.Errorf("%d packets lost", lost)
		}
	})
}

// A server that wants other credentials is known by them, and leaves its place.
func TestRefusingServerLeavesItsPlace(t *testing.T) {
	inLab(t, func(l *lab) {
		n := public(l)
		far, farther := l.otherTURN("203.0.113.2"), l.otherTURN("203.0.113.3")
		n.underlay.SetServers([]Server{{Addr: far, Username: "nobody", Password: "secret"}, {Addr: farther, Username: "u", Password: "secret"}, {Addr: hubAddr, Username: "", Password: ""}})
		l.until(2*time.Second, "one is held", func() bool { return n.held()[farther] != nil })
		n.underlay.SetServers([]Server{{Addr: far, Username: "u", Password: "secret"}, {Addr: farther, Username: "u", Password: "secret"}, {Addr: hubAddr, Username: "", Password: ""}})
		l.until(2*time.Second, "two are held", func() bool { return len(n.held()) == 2 })
	})
}
