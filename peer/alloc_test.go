//go:build !race

package peer

import (
	"net/netip"
	"testing"
)

// The race detector makes sync.Pool forget on purpose; so this holds without.
func TestNoAllocations(t *testing.T) {
	u, r, to := newBenchRelay()
	u.onRelayed = func(*Relay, netip.AddrPort, []byte) {}
	b := make([]byte, 1280)
	b[0] = 4
	in := append([]byte{0x40, 0x00, 5, 0}, b...)
	for name, f := range map[string]func(){
		"Send":             func() { _ = r.Send(b, to) },
		"Relay.Channel":    func() { _, _ = r.Channel(to) },
		"Underlay.Channel": func() { _, _, _ = u.Channel(hubAddr, channelMin) },
		"Handle":           func() { u.Handle(in, netip.Addr{}, hubAddr) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
