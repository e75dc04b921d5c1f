package tun

import (
	"net/netip"
	"testing"
)

func TestClaimConflicts(t *testing.T) {
	tests := []struct {
		name    string
		network string
		claim   string
		routed  bool
		want    bool
	}{
		{"same, connected", "10.77.0.0/16", "10.77.0.0/16", false, true},
		{"inside, connected", "10.77.0.0/16", "10.77.3.0/24", false, true},
		{"around, connected", "10.77.0.0/16", "10.0.0.0/8", false, true},
		{"beside, connected", "10.77.0.0/16", "10.78.0.0/16", false, false},
		{"single address", "10.77.0.0/16", "10.77.1.1/32", false, true},
		{"same, routed", "10.77.0.0/16", "10.77.0.0/16", true, true},
		{"inside, routed", "10.77.0.0/16", "10.77.3.0/24", true, true},
		{"around, routed", "10.77.0.0/16", "10.0.0.0/8", true, false},
		{"default", "10.77.0.0/16", "0.0.0.0/0", false, false},
		{"half of everything", "10.77.0.0/16", "0.0.0.0/1", false, false},
		{"other family", "10.77.0.0/16", "fd00::/8", false, false},
		{"IPv6, same", "fd77::/64", "fd77::/64", false, true},
		{"IPv6, around", "fd77::/64", "fd77::/48", false, true},
		{"IPv6, beside", "fd77::/64", "fd77:0:0:1::/64", false, false},
		{"IPv6, global unicast", "fd77::/64", "2000::/3", false, false},
		{"IPv6, default", "fd77::/64", "::/0", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := claim{netip.MustParsePrefix(tt.claim), "eth0", tt.routed}
			if got := c.conflicts(netip.MustParsePrefix(tt.network)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
