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
	tests := []struct {
		ice   peer.State
		path  peer.PathKind
		heard time.Time
		hub   bool
		want  peer.State
	}{
		{peer.Idle, peer.PathNone, time.Time{}, true, peer.Idle},
		{peer.Checking, peer.PathNone, time.Time{}, true, peer.Checking},
		{peer.Connected, peer.PathDirect, time.Time{}, true, peer.Checking},
		{peer.Connected, peer.PathDirect, now.Add(-time.Second), true, peer.Connected},
		{peer.Connected, peer.PathRelayed, now.Add(-lively), true, peer.Disconnected},
		{peer.Disconnected, peer.PathDirect, now.Add(-time.Second), false, peer.Connected},
		{peer.Disconnected, peer.PathDirect, now.Add(-time.Second), true, peer.Disconnected},
		{peer.Checking, peer.PathDirect, now.Add(-time.Second), false, peer.Connected},
		{peer.Failed, peer.PathNone, now.Add(-lively), true, peer.Failed},
	}
	for _, tt := range tests {
		m := &active{member: &member{}, heard: tt.heard}
		if got := m.state(now, peer.Snapshot{State: tt.ice, Path: tt.path}, tt.hub); got != tt.want {
			t.Errorf("ICE says %s, heard %v ago: %s, want %s", tt.ice, now.Sub(tt.heard), got, tt.want)
		}
	}
}

func TestWhy(t *testing.T) {
	tests := []struct {
		peer PeerStatus
		want string
	}{
		{PeerStatus{State: peer.Connected, Path: peer.PathDirect, Online: true}, ""},
		{PeerStatus{State: peer.Connected, Path: peer.PathDirect}, ""},
		{PeerStatus{State: peer.Connected, Path: peer.PathRelayed}, "relayed:"},
		{PeerStatus{State: peer.Idle, Path: peer.PathNone}, "not connected to the hub"},
		{PeerStatus{State: peer.Idle, Path: peer.PathNone, Online: true}, "idle:"},
		{PeerStatus{State: peer.Failed, Path: peer.PathNone, Online: true}, "no way has answered"},
		{PeerStatus{State: peer.Checking, Path: peer.PathNone, Online: true}, ""},
	}
	for _, tt := range tests {
		if got := why(tt.peer); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s, %s, online %v: %q, want %q", tt.peer.State, tt.peer.Path, tt.peer.Online, got, tt.want)
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
