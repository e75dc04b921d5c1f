package hub

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// TestAskSTUN: anybody who has the link learns the hub's STUN servers, with and
// without TLS, also where some of the hub's addresses lead nowhere. Another hub's
// answer is not taken.
func TestAskSTUN(t *testing.T) {
	for name, cfg := range map[string]Config{
		"TLS":   {AltAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.2")}},
		"plain": {PlainHTTP: true},
	} {
		h := startHub(t, cfg)
		hub := h.Link().Hub
		hub.URLs = append([]string{"ws://127.0.0.1:1"}, hub.URLs...)
		a, err := signaling.AskSTUN(context.Background(), new(net.Dialer).DialContext, hub)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := issue(h, identity{config.NewNetworkKey().Public(), config.NodeKey{1}})
		if !slices.Equal(a.Servers, want.Servers) || !slices.Equal(a.STUN, want.STUN) || a.URL != hub.URLs[1] || a.RTT <= 0 {
			t.Errorf("%s: got %+v, want %v and %v", name, a, want.Servers, want.STUN)
		}
		if hub.Key = config.NewHubKey().Public(); name == "TLS" {
			if a, err := signaling.AskSTUN(context.Background(), new(net.Dialer).DialContext, hub); err == nil || !strings.Contains(err.Error(), "cannot reach the hub at "+hub.URLs[1]) {
				t.Errorf("a stranger's answer: %+v, %v", a, err)
			}
		}
	}
}
