package hub

import (
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

func TestArrivals(t *testing.T) {
	tests := []struct {
		name   string
		epochs []signaling.Epoch
		every  time.Duration
		at     int // index of the arrival that shows it; -1: none does
	}{
		{"two copies", []signaling.Epoch{1, 2, 1, 2, 1}, time.Second, 4},
		{"three copies", []signaling.Epoch{1, 2, 3, 1, 2, 3}, time.Second, 5},
		{"one of them starts over and over", []signaling.Epoch{1, 2, 1, 3, 1, 4, 1}, time.Second, 6},
		{"a machine that starts over and over", []signaling.Epoch{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}, time.Second, -1},
		{"a connection that breaks", []signaling.Epoch{1, 1, 1, 1, 1, 1, 1, 1, 1}, time.Second, -1},
		{"breaks, then starts anew", []signaling.Epoch{1, 1, 2, 2, 2, 3, 3, 3, 4}, time.Second, -1},
		{"slowly", []signaling.Epoch{1, 2, 1, 2, 1, 2, 1, 2}, 25 * time.Second, -1},
		{"within the minute", []signaling.Epoch{1, 2, 1, 2, 1}, 15 * time.Second, 4},
	}
	for _, tt := range tests {
		var a arrivals
		got, now := -1, time.Now()
		for i, epoch := range tt.epochs {
			a = a.add(epoch, now.Add(time.Duration(i)*tt.every))
			if a.ofCopies() && got < 0 {
				got = i
			}
			if len(a) > maxArrived {
				t.Errorf("%s: %d arrivals kept", tt.name, len(a))
			}
		}
		if got != tt.at {
			t.Errorf("%s: found at arrival %d, want %d", tt.name, got, tt.at)
		}
	}
}

// Both machines with one key are told, others see them go, and one that comes
// when the other is gone is welcome.
func TestCopiedMachine(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	witness := connect(t, h, newMember(t, network, 1))
	original := newMember(t, network, 2)
	copied := *original
	copied.epoch = original.epoch - 3 // its counter of starts was copied too
	turns := []*member{original, &copied}

	before := connect(t, h, turns[0])
	for i := 1; i <= copyTurns; i++ {
		c := connect(t, h, turns[i%2])
		before.expectError(signaling.CodeReplaced)
		before = c
	}
	last := dial(t, h)
	last.hello(turns[(copyTurns+1)%2])
	expect[*signaling.Welcome](last)
	for _, c := range []*wsClient{before, last} {
		for {
			m, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := m.(*signaling.Error); ok {
				if e.Code != signaling.CodeCopied {
					t.Errorf("got code %q, want %q", e.Code, signaling.CodeCopied)
				}
				c.expectEnd()
				break
			}
		}
	}
	if n := h.drops.copied.Load(); n != 2 {
		t.Errorf("%d counted, want 2", n)
	}
	for {
		if p, ok := mustRead(witness).(*signaling.Presence); ok && len(p.Offline) == 1 {
			break
		}
	}
	witness.send(&signaling.Signal{To: original.node()})
	witness.expectError(signaling.CodeOffline)

	// The copy was taken down: the other's next attempt succeeds, and stays.
	c := connect(t, h, original)
	c.ws.Close()
	c = connect(t, h, original)
	witness.send(&signaling.Signal{To: original.node(), Sealed: []byte("welcome back")})
	for {
		if s, ok := mustRead(c).(*signaling.Signal); ok {
			if string(s.Sealed) != "welcome back" {
				t.Errorf("got %q", s.Sealed)
			}
			break
		}
	}
}

func mustRead(c *wsClient) signaling.Message {
	c.t.Helper()
	m, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// A machine that only starts over and over is let in each time.
func TestCrashLoop(t *testing.T) {
	h := startHub(t, Config{})
	m := newMember(t, config.NewNetworkKey(), 1)
	before := connect(t, h, m)
	for range 3 * copyTurns {
		m.epoch += 5
		c := connect(t, h, m)
		before.expectError(signaling.CodeReplaced)
		before = c
	}
	before.settled()
}

// What a node's arrivals left is forgotten when it is of no use.
func TestArrivalsAreForgotten(t *testing.T) {
	b := newLocalBus()
	for n := range byte(10) {
		b.Attach(Seat{Node: config.NodeKey{n}, Deliver: func(Event) bool { return true }})()
	}
	b.mu.Lock()
	for node, a := range b.arrived {
		a[0].at = a[0].at.Add(-2 * copyWithin)
		b.arrived[node] = a
	}
	b.pruned = b.pruned.Add(-2 * copyWithin)
	b.mu.Unlock()
	b.Attach(Seat{Node: config.NodeKey{100}, Deliver: func(Event) bool { return true }})()
	if len(b.arrived) != 1 || len(b.seats) != 0 {
		t.Errorf("%d arrivals and %d seats, want 1 and none", len(b.arrived), len(b.seats))
	}
}
