package peer

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// sized waits until all that a side was told of sizes is as wanted.
func (s *side) sized(within time.Duration, want ...int) {
	s.lab.t.Helper()
	s.lab.until(within, fmt.Sprintf("told %v", want), func() bool { return slices.Equal(s.told(), want) })
}

func TestMTU(t *testing.T) {
	hidden := func(l *lab) *node { return l.behind(natPort, func(c *UnderlayConfig) { c.RelayOnly = true }) }
	tests := []struct {
		name   string
		a, b   func(*lab) *node
		narrow int64 // the longest that both can send whole
		want   int
	}{
		{"direct", port, port, 1472, 1472},
		{"public", public, port, 1472, 1472},
		{"relayed", symmetric, symmetric, 1472, 1468},
		{"relayed on one side", symmetric, port, 1472, 1468},
		{"narrow", port, port, 1412, 1412},
		{"narrow, to a relay", symmetric, symmetric, 1412, 1408},
		{"narrow, through a relay", hidden, hidden, 1412, 1408},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				k := l.pair(tt.a(l), tt.b(l))
				k.a.narrow.Store(tt.narrow)
				k.b.narrow.Store(tt.narrow)
				k.online()
				for _, s := range []*side{k.a, k.b} {
					// On the way to it some relayed path may have been used.
					l.until(4*time.Second, "proved", func() bool {
						told := s.told()
						return len(told) > 1 && told[0] == BasePayload && told[len(told)-1] == tt.want
					})
				}
				k.a.stop()
				if told := k.a.told(); told[len(told)-1] != BasePayload {
					t.Errorf("told %v, want the base when the session has ended", told)
				}
			})
		})
	}
}

// The size is the path's, not the peer's.
func TestMTUOfNewPath(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.relayedPair()
		k.a.sized(time.Second, BasePayload, 1468)
		k.a.link.Store(1412)
		l.lose(nil)
		k.connected(l, PathDirect, time.Second)
		l.until(2*time.Second, "proved anew", func() bool {
			told := k.a.told()
			return len(told) > 3 && told[2] == BasePayload && told[len(told)-1] == 1412
		})
	})
}

func TestMTUOfNarrowedPath(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		k.online()
		k.a.sized(3*time.Second, BasePayload, 1472)
		k.a.narrow.Store(1272)
		time.Sleep(time.Minute)
		k.a.sized(0, BasePayload, 1472) // nobody has noticed
		k.a.Large()
		k.a.sized(2*time.Second, BasePayload, 1472, 1252)
		k.a.sized(4*time.Second, BasePayload, 1472, 1252, 1272)
	})
}

// Nothing that is lost while the path is dead counts.
func TestMTUAfterOutage(t *testing.T) {
	inLab(t, func(l *lab) {
		k := l.pair(port(l), port(l))
		k.online()
		k.a.sized(3*time.Second, BasePayload, 1472)
		k.a.mute.Store(true)
		k.a.Large()
		time.Sleep(8 * time.Second)
		k.a.mute.Store(false)
		l.until(3*time.Second, "as before", func() bool {
			told := k.a.told()
			return told[len(told)-1] == 1472
		})
		if low := slices.Min(k.a.told()); low < BasePayload {
			t.Errorf("told %v, want nothing below the base", k.a.told())
		}
	})
}

// A padded check is answered to the peer alone, where it was heard before, with
// a short response; the agent never sees it.
func TestPaddedCheck(t *testing.T) {
	request := func(size int, pwd string) []byte {
		peer := &conn{checks: newChecks("theirs", nil, nil), priority: 1}
		peer.checks.setRemote("ours", pwd)
		m, err := peer.padded(testRole, size)
		if err != nil {
			t.Fatal(err)
		}
		return m.Raw
	}
	elsewhere := netip.MustParseAddrPort("198.51.100.66:9")
	tests := []struct {
		name string
		from netip.AddrPort
		b    []byte
		want bool
	}{
		{"small", testRemote, request(576, testPwd), true},
		{"long", testRemote, request(8972, testPwd), true},
		{"longest", testRemote, request(65500, testPwd), true},
		{"wrong password", testRemote, request(1472, "another password of 22"), false},
		{"from elsewhere", elsewhere, request(1472, testPwd), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, c, sent := newTestMux(t)
			c.checks.pwd = testPwd
			c.checks.asked(pairKey{c, testRemote}, 1, time.Now(), time.Now())
			before := bytes.Clone(tt.b)
			m.route(nil, testLocal.Addr(), tt.from, tt.b)
			if !bytes.Equal(tt.b, before) || len(c.queue) != 0 {
				t.Errorf("the message was changed, or %d delivered", len(c.queue))
			}
			if got := len(*sent) == 1; got != tt.want {
				t.Fatalf("answered %v, want %v", got, tt.want)
			}
			if !tt.want {
				return
			}
			r := stun.Message{Raw: (*sent)[0]}
			if r.Decode() != nil || r.Type != stun.BindingSuccess || stunTransaction(r.Raw) != stunTransaction(tt.b) ||
				stun.NewShortTermIntegrity(testPwd).Check(&r) != nil || stun.Fingerprint.Check(&r) != nil || len(r.Raw) > 100 {
				t.Errorf("the response is %s, %d bytes", &r, len(r.Raw))
			}
		})
	}
}

// What a probe proves is its own size, when the response is authentic.
func TestProbeResponse(t *testing.T) {
	m, c, sent := newTestMux(t)
	c.probe(testRemote, 1472)
	if sent := len(*sent); sent != 0 {
		t.Fatalf("%d probes left before the agent has a role", sent)
	}
	sendCheck(t, c)
	c.probe(testRemote, 1472)
	b := (*sent)[1]
	if len(b) != 1472 || !isPadded(b) || !isSTUN(b) {
		t.Fatalf("the probe is %d bytes long: % x…", len(b), b[:40])
	}
	q := stun.Message{Raw: b}
	if err := q.Decode(); err != nil {
		t.Fatal(err)
	}
	m.route(nil, testLocal.Addr(), testRemote, response(&q, "another password of 22"))
	if got := c.checks.takeCarried(); got != nil {
		t.Errorf("a false response proves %v", got)
	}
	m.route(nil, testLocal.Addr(), testRemote, response(&q, testPwd))
	if got, want := c.checks.takeCarried(), []carried{{pairKey{c, testRemote}, 1472}}; !slices.Equal(got, want) {
		t.Errorf("proved %v, want %v", got, want)
	}
}
