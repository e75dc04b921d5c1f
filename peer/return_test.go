package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// silence has both sides send 50 times a second for d, while f runs, and returns
// for how long nothing came, in the worse direction, after the time that f gives.
func (k *link) silence(d time.Duration, f func() (since time.Time)) (longest time.Duration) {
	begun := make(chan time.Time, 1)
	go func() { begun <- f() }()
	run := fmt.Sprint(time.Now().UnixNano())
	start := time.Now()
	for i := 0; time.Since(start) < d; i++ {
		k.a.sendData(fmt.Sprintf("%s a %d", run, i))
		k.b.sendData(fmt.Sprintf("%s b %d", run, i))
		time.Sleep(20 * time.Millisecond)
	}
	end, since := time.Now(), <-begun
	for _, n := range []*side{k.a, k.b} {
		n.node.mu.Lock()
		times := []time.Time{since, end}
		for name, at := range n.node.got {
			if strings.HasPrefix(name, run) && at.After(since) {
				times = append(times, at)
			}
		}
		n.node.mu.Unlock()
		slices.SortFunc(times, time.Time.Compare)
		for i, at := range times[1:] {
			longest = max(longest, at.Sub(times[i]))
		}
	}
	return longest
}

// keptPair are two nodes whose NATs only a relay connects, which they are given
// again by a server that starts anew.
func keptPair(l *lab) *link {
	l.t.Helper()
	l.keeps.Store(true)
	k := l.pair(symmetric(l), symmetric(l))
	k.online()
	k.connected(l, PathRelayed, time.Second)
	time.Sleep(20 * time.Second) // nominated, and quiet
	return k
}

// The server of the relay dies and comes back with none of its allocations: data
// passes again soon, by the same relays, and without a word from the hub.
func TestRelayReturns(t *testing.T) {
	for _, away := range []time.Duration{0, 300 * time.Millisecond, 3 * time.Second, 20 * time.Second, 2 * time.Minute, 10 * time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			inLab(t, func(l *lab) {
				k := keptPair(l)
				k.cut.Store(true)
				ra, rb := k.a.relay(), k.b.relay()
				paths := len(k.a.history()) + len(k.b.history())
				longest := k.silentAfterReturn(l, away)
				if longest > time.Second {
					t.Errorf("silent for %v, want 1 s at most", longest)
				}
				if k.a.relay() != ra || k.b.relay() != rb || len(k.a.history())+len(k.b.history()) != paths {
					t.Error("the relays or the path are others")
				}
			})
		})
	}
}

// silentAfterReturn is how long data is lost after the server was away for that long.
func (k *link) silentAfterReturn(l *lab, away time.Duration) time.Duration {
	longest := k.silence(away+10*time.Second, func() time.Time {
		time.Sleep(time.Second)
		l.stopTURN()
		time.Sleep(away)
		l.startTURN()
		return time.Now()
	})
	l.t.Logf("silent for %v after the server's return", longest)
	return longest
}

// Where the server gives other relays, each side has to tell the other of its own.
func TestOtherRelayAfterReturn(t *testing.T) {
	for _, away := range []time.Duration{0, 3 * time.Second, 20 * time.Second} {
		t.Run(away.String(), func(t *testing.T) {
			inLab(t, func(l *lab) {
				k := l.pair(symmetric(l), symmetric(l))
				k.online()
				k.connected(l, PathRelayed, time.Second)
				time.Sleep(20 * time.Second)
				longest := k.silentAfterReturn(l, away)
				if longest > 2*time.Second {
					t.Errorf("silent for %v, want 2 s at most", longest)
				}
			})
		})
	}
}

// Who only receives notices as well that its relay is gone: its checks have no
// answer.
func TestQuietSideFindsItsRelayAgain(t *testing.T) {
	inLab(t, func(l *lab) {
		k := keptPair(l)
		k.cut.Store(true)
		l.stopTURN()
		l.startTURN()
		took := l.until(4*time.Second, "data passes", func() bool {
			k.a.sendData("on")
			return k.b.received("on")
		})
		t.Logf("data passes after %v", took)
	})
}

// A mapping that is another makes sessions anew at once, and the relay.
func TestNATRemaps(t *testing.T) {
	inLab(t, func(l *lab) {
		n := public(l)
		old := n.relay()
		before := n.underlay.changes().count
		n.remap()
		n.underlay.Changed("suspicion")
		took := l.until(time.Second, "allocated anew", func() bool { return old.lost() && n.relay() != old })
		t.Logf("allocated anew after %v", took)
		if got := n.underlay.changes().count; got != before+1 {
			t.Errorf("%d changes, want the one that was told", got-before)
		}
		cs := candidates(n.underlay)
		i := slices.IndexFunc(cs, func(c Candidate) bool { return c.Type == ServerReflexive })
		if want := netip.AddrPortFrom(n.addr.Addr(), nodePort+1); i < 0 || cs[i].Addr != want {
			t.Errorf("candidates %+v, want the mapping %v", cs, want)
		}

		time.Sleep(time.Minute)
		n.remap()
		took = l.until(probeEvery+time.Second, "it is a change", func() bool { return n.underlay.changes().count == before+2 })
		t.Logf("noticed after %v by itself", took)
		for range 30 { // a NAT that keeps no mapping for long
			time.Sleep(probeEvery)
			n.remap()
		}
		if got := n.underlay.changes().count - before - 2; got < 3 || got > remapBurst+6 {
			t.Errorf("%d changes in %v, want some", got, 30*probeEvery)
		}
	})
}

// Data that is sent through a relay whose client's address has changed has no
// answer: that is noticed at once.
func TestRemappedRelayIsNoticed(t *testing.T) {
	inLab(t, func(l *lab) {
		l.lose(direct)
		a, b := public(l), symmetric(l)
		k := l.pair(a, b)
		k.online()
		k.connected(l, PathRelayed, time.Second)
		time.Sleep(20 * time.Second)
		longest := k.silence(15*time.Second, func() time.Time {
			time.Sleep(time.Second)
			a.remap()
			return time.Now()
		})
		t.Logf("silent for %v", longest)
		if longest > 2500*time.Millisecond {
			t.Errorf("silent for %v, want 2.5 s at most", longest)
		}
	})
}

// Where packets get lost, one without an answer is no sign that a server is silent.
func TestLossIsNoSilence(t *testing.T) {
	inLab(t, func(l *lab) {
		n := public(l)
		s := n.relay().server
		for _, loss := range []float64{0, 0.5} {
			s.probe.mu.Lock()
			s.probe.way.loss = loss
			s.probe.mu.Unlock()
			l.lose(func(_, to netip.AddrPort, b []byte) bool { return to == hubAddr && isSTUN(b) })
			signal(s.probe.wake)
			time.Sleep(probeRTO + 50*time.Millisecond)
			if silent := (*n.underlay.mux.silent.Load())[s]; silent != (loss == 0) {
				t.Errorf("after one probe without an answer, where %v are lost: silent %v", loss, silent)
			}
			l.lose(nil)
			time.Sleep(5 * time.Second)
			if (*n.underlay.mux.silent.Load())[s] {
				t.Error("silent, though it answers")
			}
		}
	})
}

func TestVigil(t *testing.T) {
	inLab(t, func(l *lab) {
		n, dead := public(l), netip.MustParseAddrPort("203.0.113.250:9")
		r := n.relay()
		var asked atomic.Int32
		l.lose(func(_, to netip.AddrPort, b []byte) bool {
			if to == hubAddr && isSTUN(b) && stunType(b) == bindingRequest {
				asked.Add(1)
			}
			return false
		})
		time.Sleep(time.Minute)
		quiet := asked.Load()
		if quiet > 6 {
			t.Errorf("%d requests in a minute without a packet", quiet)
		}
		for range 600 {
			_ = r.Send([]byte{4, 0, 0, 0}, dead)
			time.Sleep(100 * time.Millisecond)
		}
		if n := asked.Load() - quiet; n < 5 || n > 14 {
			t.Errorf("%d requests in a minute of packets to nobody", n)
		}
	})
}

// Of two relays that both sides have, the one that carries nothing is ready: what is
// sent through it needs no binding first.
func TestSecondRelayIsWarm(t *testing.T) {
	inLab(t, func(l *lab) {
		far := l.otherTURN("203.0.113.2")
		l.delay(map[netip.Addr]time.Duration{far.Addr(): 20 * time.Millisecond})
		a, b := symmetric(l), symmetric(l)
		for _, n := range []*node{a, b} {
			n.underlay.SetServers([]Server{{Addr: far, Username: "u", Password: "secret"}, {Addr: hubAddr, Username: "u", Password: "secret"}})
			l.until(time.Second, "both are held", func() bool { return len(n.held()) == 2 })
		}
		k := l.pair(a, b)
		k.online()
		k.connected(l, PathRelayed, time.Second)
		for range 10 {
			for range 60 {
				k.a.sendData("on")
				k.b.sendData("on")
				time.Sleep(time.Second)
			}
			for _, n := range []*node{a, b} {
				for at, r := range n.held() {
					ready := 0
					for to, d := range r.table.Load().byAddr {
						if d.bound.Load() && (to.Addr() == far.Addr() || to.Addr() == hubAddr.Addr()) {
							ready++
						}
					}
					if ready == 0 {
						t.Fatalf("the relay at %v is not ready", at)
					}
				}
			}
		}
	})
}

// An allocation outlives the credentials that it was made with, whatever is
// suspected of it; one that is gone is not taken for alive.
func TestAllocationOutlivesCredentials(t *testing.T) {
	inLab(t, func(l *lab) {
		n := public(l)
		r := n.relay()
		l.expired.Store(true)
		for range 20 {
			n.underlay.Changed("suspicion")
			time.Sleep(20 * time.Second)
			if r.lost() {
				t.Fatal("given up")
			}
		}
		l.stopTURN()
		l.startTURN()
		n.underlay.Changed("suspicion")
		l.until(verifyFor+time.Second, "lost", r.lost)
	})
}
