package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// newFake returns a Bind whose IPv4 socket is the test's.
func newFake() (*Bind, *fakeConn) {
	b, c := NewBind(BindConfig{Handler: newRecorder()}), &fakeConn{}
	b.v4.Store(&socket{c})
	return b, c
}

// sentTypes lists the WireGuard types of what left, and where to.
func sentTypes(c *fakeConn) (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.sent {
		list = append(list, fmt.Sprintf("%d>%v", w.data[0], w.to))
	}
	c.sent = nil
	return list
}

const (
	one = "192.0.2.1:1"
	two = "192.0.2.2:2"
)

// TestHandshakeWaitsForPath plays what WireGuard does around a path's arrival.
func TestHandshakeWaitsForPath(t *testing.T) {
	initiation := wireGuardMessage(typeInitiation, initiationSize)
	response := wireGuardMessage(typeResponse, responseSize)
	data := wireGuardMessage(typeTransport, 64)
	type step struct {
		send []byte
		path string
		wait time.Duration
	}
	tests := []struct {
		name  string
		steps []step
		want  []string
		wants int // calls of onWant
		lost  uint64
	}{
		{"initiation before the path", []step{{send: initiation}, {path: one}}, []string{"1>" + one}, 1, 0},
		{"response before the path", []step{{send: response}, {path: one}}, []string{"2>" + one}, 1, 0},
		{"the last counts", []step{{send: initiation}, {send: response}, {path: one}}, []string{"2>" + one}, 2, 0},
		{"data before the path waits", []step{{send: data}, {path: one}, {path: two}}, []string{"4>" + one}, 1, 0},
		{"data leaves the handshake", []step{{send: initiation}, {send: data}, {path: one}}, []string{"1>" + one, "4>" + one}, 2, 0},
		{"after the path nothing waits", []step{{path: one}, {send: initiation}}, []string{"1>" + one}, 0, 0},
		{"lost on the old path", []step{{path: one}, {send: initiation}, {path: two}, {wait: againAfter + 1}}, []string{"1>" + one, "1>" + two}, 0, 0},
		{"the same path again", []step{{path: one}, {send: initiation}, {path: one}}, []string{"1>" + one}, 0, 0},
		{"path taken away", []step{{path: one}, {path: "none"}, {send: initiation}, {path: two}}, []string{"1>" + two}, 1, 0},
		{"too old", []step{{send: initiation}, {wait: handshakeKeep}, {path: one}}, nil, 1, 0},
		{"WireGuard's retry", []step{{send: initiation}, {wait: 5334 * time.Millisecond}, {path: one}}, []string{"1>" + one}, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, c := newFake()
				wants := 0
				e := b.NewEndpoint(nameA, func() { wants++ })
				for _, s := range tt.steps {
					time.Sleep(s.wait)
					synctest.Wait()
					if s.path != "" {
						remote, _ := netip.ParseAddrPort(s.path)
						e.SetPath(Path{Remote: remote})
					}
					if s.send != nil {
						if err := b.Send([][]byte{s.send}, e); err != nil {
							t.Fatal(err)
						}
					}
				}
				if got := sentTypes(c); !slices.Equal(got, tt.want) {
					t.Errorf("sent %v, want %v", got, tt.want)
				}
				if got := b.Counters().NoPath; wants != tt.wants || got != tt.lost {
					t.Errorf("onWant called %d times, %d lost; want %d, %d", wants, got, tt.wants, tt.lost)
				}
			})
		})
	}
}

func TestEndpointIsStable(t *testing.T) {
	b, _ := newFake()
	e := b.NewEndpoint(nameA, nil)
	found, err := b.ParseEndpoint(e.DstToString())
	if err != nil || found != e {
		t.Fatalf("ParseEndpoint(%q) = %v, %v; want the endpoint", e.DstToString(), found, err)
	}
	if other := b.NewEndpoint(nameB, nil); other.DstToString() == e.DstToString() || slices.Equal(other.DstToBytes(), e.DstToBytes()) {
		t.Error("two peers have one pseudo address")
	}
	text, bytes := e.DstToString(), slices.Clone(e.DstToBytes())
	remote := netip.MustParseAddrPort(one)
	e.SetPath(Path{Local: home, Remote: remote})
	e.ClearSrc()
	if e.SrcIP() != home || e.SrcToString() != home.String() {
		t.Errorf("source %v, want %v", e.SrcIP(), home)
	}
	if e.DstToString() != text || !slices.Equal(e.DstToBytes(), bytes) || e.DstIP() != nameA {
		t.Error("a path changed the pseudo address")
	}
	if p, ok := e.Path(); !ok || p != (Path{Local: home, Remote: remote}) {
		t.Errorf("Path() = %v, %v", p, ok)
	}
	for _, s := range []string{"", "192.0.2.1:51820", "[fd00::c]:0"} {
		if found, err := b.ParseEndpoint(s); err == nil {
			t.Errorf("ParseEndpoint(%q) = %v, want an error", s, found)
		}
	}
	if err := b.Send(nil, &conn.StdNetEndpoint{}); !errors.Is(err, conn.ErrWrongEndpointType) {
		t.Errorf("Send to another's endpoint: %v", err)
	}
}

func TestRemoveEndpoint(t *testing.T) {
	b, c := newFake()
	old := b.NewEndpoint(nameA, nil)
	remote := netip.MustParseAddrPort(one)
	old.SetPath(Path{Remote: remote})
	b.RemoveEndpoint(old)

	old.SetPath(Path{Remote: remote})
	old.AddSource(nil, remote)
	if err := b.Send([][]byte{wireGuardMessage(4, 64)}, old); err != nil || len(c.sent) > 0 {
		t.Errorf("a removed endpoint sent %v, %v", c.sent, err)
	}
	if e := b.claims.lookup(claim{from: remote}); e != nil {
		t.Errorf("a removed endpoint owns %v", remote)
	}
	if _, err := b.ParseEndpoint(old.DstToString()); err == nil {
		t.Error("a removed endpoint is found by its name")
	}

	// A peer that comes back gets a new endpoint, which the old cannot harm.
	e := b.NewEndpoint(nameA, nil)
	b.RemoveEndpoint(old)
	if found, err := b.ParseEndpoint(e.DstToString()); err != nil || found != e {
		t.Errorf("ParseEndpoint = %v, %v; want the new endpoint", found, err)
	}
}

func TestClaims(t *testing.T) {
	b, _ := newFake()
	first, second := b.NewEndpoint(nameA, nil), b.NewEndpoint(nameB, nil)
	from := func(port int) claim {
		return claim{from: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(port))}
	}
	owner := func(c claim, want *Endpoint) {
		t.Helper()
		if got := b.claims.lookup(c); got != want {
			t.Errorf("%v belongs to %p, want %p", c.from, got, want)
		}
	}

	first.AddSource(nil, from(1).from)
	owner(from(1), first)
	owner(claim{&plainRelay{}, from(1).from}, nil)
	second.AddSource(nil, netip.MustParseAddrPort("[::ffff:192.0.2.1]:1"))
	owner(from(1), second) // the newest claimant, and one form of address
	b.RemoveEndpoint(first)
	owner(from(1), second)

	// The path's own address outlives any number of newer ones.
	second.SetPath(Path{Remote: from(1).from})
	for port := 2; port <= 2*claimsPerPeer; port++ {
		second.AddSource(nil, from(port).from)
	}
	owner(from(1), second)
	owner(from(2), nil)
	owner(from(2*claimsPerPeer), second)
	if n := len(b.claims.held[second]); n != claimsPerPeer {
		t.Errorf("%d claims are held, want %d", n, claimsPerPeer)
	}
	// Claiming again makes a claim the newest.
	oldest := b.claims.held[second][1]
	second.AddSource(nil, oldest.from)
	second.AddSource(nil, from(5000).from)
	owner(oldest, second)
}

type failingRelay struct {
	plainRelay
	sent int
}

func (r *failingRelay) Send([]byte, netip.AddrPort) error {
	if r.sent++; r.sent == 2 {
		return errors.New("queue full")
	}
	return nil
}

// TestRelayErrors shows that one packet that a relay refuses costs no other.
func TestRelayErrors(t *testing.T) {
	b, _ := newFake()
	e, r := b.NewEndpoint(nameA, nil), &failingRelay{}
	e.SetPath(Path{Remote: stranger, Relay: r})
	err := b.Send(dataPackets([]int{64, 64, 64}), e)
	if err == nil || r.sent != 3 {
		t.Errorf("%d packets reached the relay with %v, want 3 and its error", r.sent, err)
	}
}
