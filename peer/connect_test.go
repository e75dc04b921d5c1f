package peer

import (
	"testing"
	"time"
)

func TestConnect(t *testing.T) {
	tests := []struct {
		name   string
		a, b   func(l *lab) *node
		path   PathKind
		within time.Duration
	}{
		{"public-public", public, public, PathDirect, 150 * time.Millisecond},
		{"public-port", public, port, PathDirect, 150 * time.Millisecond},
		{"port-port", port, port, PathDirect, 150 * time.Millisecond},
		{"full-symmetric", full, symmetric, PathDirect, 150 * time.Millisecond},
		{"symmetric-public", symmetric, public, PathDirect, 150 * time.Millisecond},
		{"symmetric-port", symmetric, port, PathRelayed, 150 * time.Millisecond},
		{"symmetric-symmetric", symmetric, symmetric, PathRelayed, 150 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				k := l.pair(tt.a(l), tt.b(l))
				k.online()
				took := l.until(10*time.Second, "connected on both sides", func() bool {
					a, b := k.a.Snapshot(), k.b.Snapshot()
					return a.State == Connected && b.State == Connected && a.Path == tt.path && b.Path == tt.path
				})
				t.Logf("%s after %v", tt.path, took)
				if took > tt.within {
					t.Errorf("%s path after %v, want at most %v", tt.path, took, tt.within)
				}
				k.a.sendData("ping")
				l.until(time.Second, "data received", func() bool { return k.b.received("ping") })
				k.b.sendData("pong")
				l.until(time.Second, "data received", func() bool { return k.a.received("pong") })
				l.until(15*time.Second, "completed", func() bool {
					return k.a.Snapshot().ICE == "completed" && k.b.Snapshot().ICE == "completed"
				})
				if s := k.a.Snapshot(); s.RTT == 0 || s.RTT > 100*time.Millisecond {
					t.Errorf("RTT %v, want that of the network", s.RTT)
				}
			})
		})
	}
}

func public(l *lab) *node    { return l.behind(nil) }
func full(l *lab) *node      { return l.behind(natFull) }
func port(l *lab) *node      { return l.behind(natPort) }
func symmetric(l *lab) *node { return l.behind(natSymmetric) }
