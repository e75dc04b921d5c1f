package hub

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/pion/stun/v4"
)

// TestAlternateAddress asks each of the four sockets to answer from each.
func TestAlternateAddress(t *testing.T) {
	second := netip.MustParseAddr("127.0.0.2")
	h := startHub(t, Config{AltAddrs: []netip.Addr{second}})
	cred := issue(h, identity{config.NewNetworkKey().Public(), config.NodeKey{1}})
	if len(cred.Servers) != 1 || len(cred.STUN) != 2 || cred.STUN[1] != netip.AddrPortFrom(second, cred.Servers[0].Port()) {
		t.Fatalf("members are told of %v and %v", cred.Servers, cred.STUN)
	}
	first, next := cred.Servers[0].Port(), cred.STUN[0].Port()
	at := [4]netip.AddrPort{
		netip.AddrPortFrom(loopback, first), netip.AddrPortFrom(loopback, next),
		netip.AddrPortFrom(second, first), netip.AddrPortFrom(second, next),
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 1500)
	for asked := range at {
		for change := range at {
			m := stun.MustBuild(stun.TransactionID, stun.BindingRequest, attribute(stun.AttrChangeRequest, 0, 0, 0, byte(change<<1)))
			conn.WriteToUDPAddrPort(m.Raw, at[asked])
			conn.SetReadDeadline(time.Now().Add(patience))
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatal(err)
			}
			answer := &stun.Message{Raw: buf[:n]}
			var mapped stun.XORMappedAddress
			var origin stun.ResponseOrigin
			var other stun.OtherAddress
			if answer.Decode() != nil || answer.TransactionID != m.TransactionID || mapped.GetFrom(answer) != nil || origin.GetFrom(answer) != nil || other.GetFrom(answer) != nil {
				t.Fatalf("%v answers %x", at[asked], buf[:n])
			}
			if want := at[asked^change]; from != want || origin.String() != want.String() || other.String() != at[asked^3].String() || mapped.String() != conn.LocalAddr().String() {
				t.Errorf("%v asked to change %d: answered from %v as %v, other %v, mapped %v", at[asked], change, from, origin, other, mapped)
			}
		}
	}
}

// TestAlternateAddressLimit: all four sockets draw on one limit.
func TestAlternateAddressLimit(t *testing.T) {
	const burst = 4
	h := startHub(t, Config{AltAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.2")}}, func(h *Hub) {
		h.relay.strangers.rate, h.relay.strangers.burst = 0.001, burst
	})
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for n := range 2 * burst {
		m := stun.MustBuild(stun.TransactionID, stun.BindingRequest, attribute(stun.AttrChangeRequest, 0, 0, 0, byte(n%4<<1)))
		conn.WriteToUDPAddrPort(m.Raw, h.TURNAddr())
	}
	waitFor(t, "answers dropped", func() bool { return h.drops.strangers.Load() == burst })
	for n := range burst + 1 {
		conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1500)); (err == nil) != (n < burst) {
			t.Errorf("answer %d: %v", n, err)
		}
	}
}

func TestAlternateAddressRefused(t *testing.T) {
	v6 := netip.IPv6Loopback()
	public := netip.MustParseAddr("192.0.2.1")
	for _, tt := range []struct {
		name   string
		public []netip.Addr
		alt    []string
		want   string
	}{
		{"public already", nil, []string{"127.0.0.1"}, "alternate address 127.0.0.1: it is a public address already"},
		{"other family", nil, []string{"::1"}, "alternate address ::1: the hub has no public address of its family"},
		{"two", nil, []string{"127.0.0.2", "127.0.0.3"}, "alternate address 127.0.0.3: it is the second of its family"},
		{"not here", nil, []string{"192.0.2.7"}, "alternate address 192.0.2.7: this machine does not have it"},
		{"no address", nil, []string{"0.0.0.0"}, "alternate address 0.0.0.0: members cannot reach it"},
		{"behind a router", []netip.Addr{public}, []string{"127.0.0.2"}, "alternate address 127.0.0.2: it stands beside 192.0.2.1, which is not on this machine or not what --turn-listen says"},
		{"one of them", []netip.Addr{loopback, v6}, []string{"127.0.0.2", "::1"}, "alternate address ::1: it is a public address already"},
	} {
		cfg := Config{Listen: "127.0.0.1:0", TURNListen: ":0", PublicAddrs: tt.public, State: t.TempDir()}
		if cfg.PublicAddrs == nil {
			cfg.PublicAddrs = []netip.Addr{loopback}
		}
		for _, a := range tt.alt {
			cfg.AltAddrs = append(cfg.AltAddrs, netip.MustParseAddr(a))
		}
		h, err := New(cfg)
		if err == nil {
			h.close()
		}
		if err == nil || err.Error() != tt.want || !strings.Contains(config.HintOf(err), "-addr") {
			t.Errorf("%s: %v (hint %q), want %s", tt.name, err, config.HintOf(err), tt.want)
		}
	}
}

// TestAlternateLeavesPublic: an address found on the machine is not both.
func TestAlternateLeavesPublic(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	if got := withoutAlternates([]netip.Addr{a, b}, []netip.Addr{b}); len(got) != 1 || got[0] != a {
		t.Errorf("got %v", got)
	}
	if got := withoutAlternates([]netip.Addr{a}, []netip.Addr{a}); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}
