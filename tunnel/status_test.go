package tunnel

import (
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
)

// TestState: ICE proposes, WireGuard is the truth.
func TestState(t *testing.T) {
	now := time.Now()
	was := func(ago time.Duration) time.Time { return now.Add(-ago) }
	tests := []struct {
		ice     peer.State
		path    peer.PathKind
		suspect bool
		checks  string
		heard   time.Time
		hub     bool
		want    peer.State
	}{
		{peer.Idle, peer.PathNone, false, "", time.Time{}, true, peer.Idle},
		{peer.Checking, peer.PathNone, false, "", time.Time{}, true, peer.Checking},
		{peer.Connected, peer.PathDirect, false, "", time.Time{}, true, peer.Checking},
		{peer.Connected, peer.PathDirect, false, "", was(time.Second), true, peer.Connected},
		{peer.Connected, peer.PathDirect, false, "", was(45*time.Second - 1), true, peer.Connected},
		{peer.Connected, peer.PathRelayed, false, "", was(45 * time.Second), true, peer.Disconnected},
		{peer.Connected, peer.PathRelayed, false, "", was(45 * time.Second), false, peer.Disconnected},
		{peer.Connected, peer.PathDirect, true, "", was(time.Second), true, peer.Checking},
		{peer.Connected, peer.PathDirect, true, "", was(time.Second), false, peer.Checking},
		{peer.Disconnected, peer.PathDirect, true, "", was(45 * time.Second), true, peer.Disconnected},
		{peer.Disconnected, peer.PathDirect, false, "", was(time.Second), false, peer.Connected},
		{peer.Disconnected, peer.PathDirect, false, "", was(time.Second), true, peer.Disconnected},
		{peer.Checking, peer.PathDirect, false, "", was(time.Second), false, peer.Connected},
		{peer.Disconnected, peer.PathDirect, false, "disconnected", was(22*time.Second - 1), false, peer.Connected},
		{peer.Disconnected, peer.PathDirect, false, "disconnected", was(22 * time.Second), false, peer.Disconnected},
		{peer.Failed, peer.PathNone, false, "", was(lively), true, peer.Failed},
	}
	for _, tt := range tests {
		m := &active{member: &member{}, heard: tt.heard}
		if got := m.state(now, peer.Snapshot{State: tt.ice, ICE: tt.checks, Path: tt.path, Suspect: tt.suspect}, tt.hub); got != tt.want {
			t.Errorf("ICE says %s, suspect %v, heard %v ago: %s, want %s", tt.ice, tt.suspect, now.Sub(tt.heard), got, tt.want)
		}
	}
}

func TestParseTraffic(t *testing.T) {
	one, two := config.WireGuardKey{1}, config.WireGuardKey{2}
	got := parseTraffic("private_key=" + strings.Repeat("07", 32) + "\nlisten_port=5\n" +
		"public_key=01" + strings.Repeat("00", 31) + "\nendpoint=10.0.0.1:0\nlast_handshake_time_sec=100\nlast_handshake_time_nsec=7\ntx_bytes=11\nrx_bytes=22\n" +
		"public_key=02" + strings.Repeat("00", 31) + "\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n")
	if len(got) != 2 {
		t.Fatalf("%d peers, want 2", len(got))
	}
	if want := (traffic{handshake: time.Unix(100, 7), rx: 22, tx: 11}); got[one] != want {
		t.Errorf("first peer %+v, want %+v", got[one], want)
	}
	if got[two] != (traffic{}) {
		t.Errorf("second peer %+v, want nothing", got[two])
	}
}
