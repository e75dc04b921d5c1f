package peer

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestLateAnswerStillConnects(t *testing.T) {
	for _, late := range []time.Duration{3 * time.Second, 8 * time.Second, 12 * time.Second} {
		inLab(t, func(l *lab) {
			k := l.pair(port(l), port(l))
			// What b says, the answer first, arrives late; so the repeated
			// offers do not help.
			begin := time.Now()
			k.filter(func(from *side) (bool, time.Duration) {
				if from == k.b {
					return true, max(0, late-time.Since(begin))
				}
				return true, 0
			})
			k.online()
			took := k.connected(l, PathDirect, late+time.Second)
			t.Logf("answer %v late: direct after %v", late, took)
		})
	}
}

// The side that answered is still there when the peer gets the answer at last.
func TestLostAnswersCostNoMore(t *testing.T) {
	for _, lost := range []time.Duration{20 * time.Second, 50 * time.Second} {
		inLab(t, func(l *lab) {
			k := l.pair(port(l), port(l))
			k.filter(func(from *side) (bool, time.Duration) { return from == k.a, 0 })
			k.online()
			time.Sleep(lost)
			k.filter(nil)
			took := k.connected(l, PathDirect, offerMaxWait+time.Second)
			t.Logf("answers lost for %v: direct %v later", lost, took)
		})
	}
}

func TestLateChecksStillConnect(t *testing.T) {
	for _, tt := range []struct {
		name string
		late func(k *link) *side
	}{
		{"controlling", func(k *link) *side { return k.a }},
		{"controlled", func(k *link) *side { return k.b }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				k := l.pair(port(l), port(l))
				s := tt.late(k)
				k.online()
				time.Sleep(time.Millisecond)
				s.mute.Store(true) // signaling passes, packets do not
				time.Sleep(8 * time.Second)
				s.mute.Store(false)
				k.connected(l, PathDirect, time.Second)
			})
		})
	}
}

func TestRoleConflict(t *testing.T) {
	for _, controlling := range []bool{true, false} {
		inLab(t, func(l *lab) {
			k := l.pair(port(l), port(l), func(a, b *Config) {
				a.Controlling, b.Controlling = controlling, controlling
			})
			k.online()
			k.connected(l, PathDirect, time.Second)
			took := l.until(3*time.Second, "completed", func() bool {
				return k.a.Snapshot().ICE == "completed" && k.b.Snapshot().ICE == "completed"
			})
			t.Logf("both controlling %v: completed %v later", controlling, took)
		})
	}
}

func TestDeadTURNServerDelaysNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		l.lose(toHub)
		r, prefix := l.site(natPort)
		k := l.pair(l.nodeAt(r, prefix+"1"), l.nodeAt(r, prefix+"2"))
		k.online()
		if took := k.connected(l, PathDirect, time.Second); took > 100*time.Millisecond {
			t.Errorf("direct after %v", took)
		}
		if lost := k.stream(l, 30*time.Second); lost > 0 {
			t.Errorf("%d packets lost", lost)
		}
		if s := k.a.Snapshot(); s.ICE != "completed" {
			t.Errorf("%+v, want completed", s)
		}
	})
}

// A server that dies later takes neither its own waits nor anything else's
// time: direct checks go on beside relayed ones that wait for permission.
func TestServerThatDiesDelaysNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		time.Sleep(time.Second) // relays and reflexive addresses are known
		l.lose(toHub)
		k.online()
		if took := k.connected(l, PathDirect, time.Second); took > 200*time.Millisecond {
			t.Errorf("direct after %v", took)
		}
	})
}

func TestRefusedAddressesAreNeverUsed(t *testing.T) {
	inLab(t, func(l *lab) {
		overlay := netip.MustParsePrefix("192.168.0.0/16")
		var sent atomic.Int32
		r, prefix := l.site(natFull)
		refuse := func(c *UnderlayConfig) {
			c.Allow = func(a netip.Addr) bool { return !overlay.Contains(a) }
			c.Socket = socketFunc(func(b []byte, local netip.Addr, to netip.AddrPort) error {
				if overlay.Contains(to.Addr()) {
					sent.Add(1)
				}
				return nil
			})
		}
		a, b := l.nodeAt(r, prefix+"1", refuse), l.nodeAt(r, prefix+"2")
		k := l.pair(a, b)
		k.online()
		time.Sleep(5 * time.Second) // b checks a's address, and is refused
		if n := sent.Load(); n > 0 {
			t.Errorf("%d packets to addresses that are refused", n)
		}
		for _, c := range candidates(a.underlay) {
			if overlay.Contains(c.Addr.Addr()) {
				t.Errorf("candidate %+v is of a refused address", c)
			}
		}
		if d := a.underlay.Drops(); d.Filtered == 0 {
			t.Errorf("drops %+v, want filtered ones", d)
		}
	})
}

// socketFunc is a Socket that is one function.
type socketFunc func(b []byte, local netip.Addr, to netip.AddrPort) error

func (socketFunc) SendJoined([][]byte, netip.AddrPort) error { return errors.ErrUnsupported }
func (socketFunc) SetJoining(_, _ bool)                      {}

func (f socketFunc) SendTo(b []byte, local netip.Addr, to netip.AddrPort) error {
	return f(b, local, to)
}

func (f socketFunc) Probe(b []byte, local netip.Addr, to netip.AddrPort) error {
	return f(b, local, to)
}

func TestTransientErrorsKillNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		var broken atomic.Bool
		flaky := func(c *UnderlayConfig) {
			inner := c.Socket
			c.Socket = socketFunc(func(b []byte, local netip.Addr, to netip.AddrPort) error {
				if broken.Load() {
					return errors.New("network is unreachable")
				}
				return inner.SendTo(b, local, to)
			})
		}
		broken.Store(true)
		k := l.pair(l.behind(natPort, flaky), port(l))
		k.online()
		time.Sleep(5 * time.Second)
		broken.Store(false)
		k.connected(l, PathDirect, 6*time.Second)
		for range 3 {
			broken.Store(true)
			time.Sleep(3 * time.Second)
			broken.Store(false)
			time.Sleep(3 * time.Second)
			if s := k.a.Snapshot(); s.State != Connected || s.ICE != "completed" {
				t.Errorf("%+v after an error, want completed", s)
			}
		}
		l.until(time.Minute, "relay allocated", func() bool {
			return slices.ContainsFunc(candidates(k.a.underlay), func(c Candidate) bool { return c.Type == Relayed })
		})
	})
}

func TestTrickleSurvivesLossAndReordering(t *testing.T) {
	for seed := range uint64(10) {
		inLab(t, func(l *lab) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			// Without a symmetric peer's relay candidate, which comes by
			// trickle only, there is no path.
			k := l.pair(symmetric(l), symmetric(l))
			k.filter(func(*side) (bool, time.Duration) {
				return rnd.IntN(2) == 0, time.Duration(rnd.IntN(1500)) * time.Millisecond
			})
			k.online()
			took := k.connected(l, PathRelayed, 2*time.Minute)
			t.Logf("relayed after %v", took)
			l.until(30*time.Second, "all candidates at both", func() bool {
				return k.a.knows(k.b) && k.b.knows(k.a)
			})
		})
	}
}

// knows says whether s's current session has each of o's candidates.
func (s *side) knows(o *side) bool {
	s.underlay.mux.mu.Lock()
	defer s.underlay.mux.mu.Unlock()
	for _, c := range s.underlay.mux.sessions {
		c.mu.Lock()
		n := len(c.announced)
		c.mu.Unlock()
		if n >= len(candidates(o.underlay)) {
			return true
		}
	}
	return false
}

func TestCrossingOffers(t *testing.T) {
	for _, delay := range []time.Duration{0, hop, 300 * time.Millisecond} {
		inLab(t, func(l *lab) {
			k := l.pair(port(l), port(l), func(a, b *Config) { a.Offerer, b.Offerer = true, true })
			k.delay = delay
			k.online()
			k.connected(l, PathDirect, 2*time.Second)
			time.Sleep(time.Minute)
			if n := k.a.sent.Load() + k.b.sent.Load(); n > 20 {
				t.Errorf("%d messages: the sides do not agree", n)
			}
		})
	}
}

// Two generations, and two peers behind one NAT, share a remote address; what
// belongs to one must not end up at the other.
func TestSessionsDoNotStealFromEachOther(t *testing.T) {
	inLab(t, func(l *lab) {
		a, b := public(l), public(l)
		one, two := l.pair(a, b), l.pair(a, b)
		one.online()
		two.online()
		one.connected(l, PathDirect, time.Second)
		two.connected(l, PathDirect, time.Second)
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			for _, s := range []*side{one.a, one.b, two.a, two.b} {
				if got := s.Snapshot().ICE; got != "completed" {
					t.Fatalf("session is %s, want completed all the time", got)
				}
			}
		}
		if got := len(one.a.history()); got != 1 {
			t.Errorf("%d paths, want one", got)
		}
	})
}

func TestAgentStaysWithItsPairAfterRemoteIsNamed(t *testing.T) {
	// The type that is shown is the announced one, even when the check from
	// there came before the announcement.
	inLab(t, func(l *lab) {
		k := l.pair(port(l), public(l))
		k.online()
		k.connected(l, PathDirect, time.Second)
		l.until(time.Second, "named as announced", func() bool { return k.b.Snapshot().Remote.Type == ServerReflexive })
		if got := k.a.Snapshot().Remote.Type; got != Host {
			t.Errorf("remote type %s, want host", got)
		}
		if got := k.b.Snapshot().Local; got.Type != Host || got.Addr != k.b.addr {
			t.Errorf("local %+v, want host %s", got, k.b.addr)
		}
	})
}

func TestRelayOnly(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(l.behind(nil, func(c *UnderlayConfig) { c.RelayOnly = true }), public(l))
		k.online()
		k.connected(l, PathRelayed, time.Second)
		time.Sleep(30 * time.Second)
		if s := k.b.Snapshot(); s.Path != PathRelayed || s.Remote.Addr.Addr() != hubAddr.Addr() {
			t.Errorf("%+v, want only the relay's address", s)
		}
		for _, c := range candidates(k.a.underlay) {
			if c.Type != Relayed {
				t.Errorf("candidate %+v of a relay-only node", c)
			}
		}
	})
}
