package tun

import "testing"

func TestIsOverlay(t *testing.T) {
	tests := []struct {
		name, kind string
		want       bool
	}{
		{"wg0", "wireguard", true},
		{"office", "wireguard", true},
		{"wg0", "tuntap", true},
		{"tailscale0", "tuntap", true},
		{"ztabcdefgh", "tuntap", true},
		{"utun3", "tuntap", true},
		{"docker0", "bridge", true},
		{"docker_gwbridge", "bridge", true},
		{"veth12ab34c", "veth", true},
		{"virbr0", "bridge", true},
		{"br-0123456789ab", "bridge", true},
		{"br-lan", "bridge", false},
		{"br-0123456789xy", "bridge", false},
		{"br0", "bridge", false},
		{"eth0", "veth", false},
		{"eth0", "device", false},
		{"wlan0", "device", false},
		{"wlp3s0", "device", false},
		{"wwan0", "device", false},
		{"enp1s0", "", false},
		{"tun0", "tuntap", false},
	}
	for _, tt := range tests {
		if got := isOverlay(tt.name, tt.kind); got != tt.want {
			t.Errorf("isOverlay(%q, %q) = %v, want %v", tt.name, tt.kind, got, tt.want)
		}
	}
}
