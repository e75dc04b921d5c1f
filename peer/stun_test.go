package peer

import (
	"testing"

	"github.com/pion/stun/v4"
)

func TestIsSTUN(t *testing.T) {
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("ours:theirs"), stun.Fingerprint).Raw
	odd := append([]byte(nil), request...)
	odd[7]++ // the cookie
	// A WireGuard initiation whose sender index is the cookie by chance.
	initiation := append([]byte{1, 0, 0, 0, 0x21, 0x12, 0xA4, 0x42}, make([]byte, 12)...)
	tests := []struct {
		name string
		b    []byte
		want bool
	}{
		{"request", request, true},
		{"cut", request[:len(request)-4], false},
		{"more follows", append(append([]byte(nil), request...), 0, 0, 0, 0), false},
		{"header only", stun.MustBuild(stun.TransactionID, stun.BindingSuccess).Raw, true},
		{"other cookie", odd, false},
		{"WireGuard", initiation, false},
		{"ChannelData", []byte{0x40, 0, 0, 0}, false},
		{"empty", nil, false},
	}
	for _, tt := range tests {
		if got := isSTUN(tt.b); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSTUNUsername(t *testing.T) {
	build := func(s ...stun.Setter) []byte {
		return stun.MustBuild(append([]stun.Setter{stun.TransactionID, stun.BindingRequest}, s...)...).Raw
	}
	odd := stun.RawAttribute{Type: stun.AttrSoftware, Value: []byte("five5")} // padded to 8
	torn := build(stun.NewUsername("abcd"))
	torn[stunHeader+3] = 200 // longer than the message
	tests := []struct {
		name string
		b    []byte
		want string
	}{
		{"first", build(stun.NewUsername("a:b"), odd), "a:b"},
		{"after a padded one", build(odd, stun.NewUsername("a:b")), "a:b"},
		{"none", build(odd), ""},
		{"torn", torn, ""},
	}
	for _, tt := range tests {
		if got := string(stunUsername(tt.b)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
