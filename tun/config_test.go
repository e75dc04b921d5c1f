package tun

import (
	"net/netip"
	"strings"
	"testing"
)

func TestConfigChecked(t *testing.T) {
	ok := []netip.Prefix{netip.MustParsePrefix("10.77.0.2/16")}
	tests := []struct {
		name string
		cfg  Config
		mtu  int    // wanted when err is empty
		err  string // part of the wanted error
	}{
		{"default MTU", Config{Name: "p2ptun0", Prefixes: ok}, 8940, ""},
		{"own MTU", Config{Name: "a.b_c-9", MTU: 1420, Prefixes: ok}, 1420, ""},
		{"longest name", Config{Name: "fifteen-letters", MTU: 65535, Prefixes: ok}, 65535, ""},
		{"MTU below IPv6's", Config{Name: "x", MTU: 1279, Prefixes: ok}, 0, "MTU 1279"},
		{"MTU negative", Config{Name: "x", MTU: -1, Prefixes: ok}, 0, "MTU -1"},
		{"MTU too large", Config{Name: "x", MTU: 65536, Prefixes: ok}, 0, "MTU 65536"},
		{"no name", Config{Prefixes: ok}, 0, `name ""`},
		{"long name", Config{Name: "sixteen-letters-", Prefixes: ok}, 0, "name"},
		{"dots", Config{Name: "..", Prefixes: ok}, 0, "name"},
		{"slash", Config{Name: "a/b", Prefixes: ok}, 0, "name"},
		{"slash inside", Config{Name: "a/", Prefixes: ok}, 0, "name"},
		{"pattern", Config{Name: "tun%d", Prefixes: ok}, 0, "name"},
		{"space", Config{Name: "a b", Prefixes: ok}, 0, "name"},
		{"newline", Config{Name: "a\n", Prefixes: ok}, 0, "name"},
		{"no address", Config{Name: "x"}, 0, "no address"},
		{"zero prefix", Config{Name: "x", Prefixes: make([]netip.Prefix, 1)}, 0, "no address"},
		{"mapped address", Config{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.1/112")}}, 0, "no address"},
		{"multicast", Config{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("224.0.0.1/24")}}, 0, "no address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.cfg.checked()
			switch {
			case tt.err == "" && err != nil:
				t.Fatal(err)
			case tt.err == "" && got.MTU != tt.mtu:
				t.Errorf("MTU %d, want %d", got.MTU, tt.mtu)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want one with %q", err, tt.err)
			}
		})
	}
}
