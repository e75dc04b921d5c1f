package peer

import (
	"net/netip"
	"testing"
	"time"
)

// TestJoined: where the network loses what leaves joined, and only there,
// nothing is joined any more; in another network it is tried again.
func TestJoined(t *testing.T) {
	losses := 0
	tests := []struct {
		name   string
		mangle func(i int, joined [][]byte) bool
		drop   func(from, to netip.AddrPort, b []byte) bool
		apart  bool
	}{
		{"all arrives", nil, nil, false},
		{"nothing of it arrives", func(int, [][]byte) bool { return true }, nil, true},
		{"the last of equal ones is lost", func(i int, joined [][]byte) bool {
			return i == len(joined)-1 && len(joined[i]) == len(joined[0])
		}, nil, true},
		{"the shorter one is lost", func(i int, joined [][]byte) bool { return len(joined[i]) < len(joined[0]) }, nil, true},
		{"each now and then", func(int, [][]byte) bool { losses++; return losses%5 == 0 }, nil, false},
		{"the server is silent", func(int, [][]byte) bool { return true }, toHub, false},
		{"all large ones are lost", nil, func(_, _ netip.AddrPort, b []byte) bool { return len(b) > 500 }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				if tt.mangle != nil {
					l.mangle.Store(&tt.mangle)
				}
				l.lose(tt.drop)
				n := l.behind(natFull)
				time.Sleep(10 * time.Second)
				if n.apart.Load() != tt.apart {
					t.Errorf("nothing may be joined: %v, want %v", n.apart.Load(), tt.apart)
				}
				l.mangle.Store(nil)
				l.lose(nil)
				s := (*n.underlay.servers.Load())[hubAddr]
				s.poke()
				time.Sleep(10 * time.Second)
				if n.apart.Load() != tt.apart {
					t.Error("the verdict was changed in the same network")
				}
			})
		})
	}
}

// TestJoinedElsewhere: a new public address is a new network.
func TestJoinedElsewhere(t *testing.T) {
	inLab(t, func(l *lab) {
		lost := func(int, [][]byte) bool { return true }
		l.mangle.Store(&lost)
		n := l.behind(natSymmetric) // a new mapping after each minute of rest
		time.Sleep(10 * time.Second)
		if !n.apart.Load() {
			t.Fatal("joined datagrams are lost, and that was not noticed")
		}
		l.mangle.Store(nil)
		n.mute.Store(true)
		time.Sleep(2 * time.Minute)
		n.mute.Store(false)
		time.Sleep(time.Minute)
		if n.apart.Load() {
			t.Error("still nothing is joined")
		}
	})
}
