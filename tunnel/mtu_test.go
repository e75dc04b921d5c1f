package tunnel

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"github.com/p2ptun/p2ptun/peer"
)

// The MTU goes with the member's addresses.
func TestMemberMTU(t *testing.T) {
	var got []string
	set := func(addrs []netip.Addr, mtu int) error {
		got = append(got, fmt.Sprintf("%v %d", addrs, mtu))
		return nil
	}
	old, moved := netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("10.77.0.3")
	m := newMemberMTU(set, []netip.Addr{old}, slog.New(slog.DiscardHandler))
	if m.get() != 1280 {
		t.Errorf("MTU %d at first, want 1280", m.get())
	}
	m.carries(1472)
	m.move([]netip.Addr{moved})
	if m.get() != 1440 {
		t.Errorf("MTU %d, want 1440", m.get())
	}
	m.carries(peer.BasePayload)
	want := []string{"[10.77.0.2] 1440", "[10.77.0.2] 1280", "[10.77.0.3] 1440", "[10.77.0.3] 1280"}
	if !slices.Equal(got, want) {
		t.Errorf("set %v, want %v", got, want)
	}
}
