package main

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func testPeers() []tunnel.PeerStatus {
	addrs := func(s ...string) (a []netip.Addr) {
		for _, s := range s {
			a = append(a, netip.MustParseAddr(s))
		}
		return a
	}
	rtt, handshake, since := 12.345, now.Add(-83*time.Second), now.Add(-time.Hour)
	return []tunnel.PeerStatus{
		{Name: "desktop", ID: "aaaa", Addresses: addrs("10.77.0.2", "fd00::2"), Online: true, State: peer.Connected, ICE: "completed",
			Path: peer.PathDirect, MTU: 1280, RTT: &rtt, RxBytes: 5 << 20, TxBytes: 1000, LastHandshake: &handshake, PresharedKey: true, PresharedSince: &since,
			Local:  tunnel.EndpointStatus{Type: peer.Host, Address: "192.168.1.2:5000"},
			Remote: tunnel.EndpointStatus{Type: peer.ServerReflexive, Address: "203.0.113.9:6000"}},
		{Name: "phone", ID: "bbbb", Addresses: addrs("10.77.0.3"), Online: true, State: peer.Connected, ICE: "connected", Path: peer.PathRelayed,
			Why: "relayed: no direct way has answered so far", MTU: 1280,
			Remote: tunnel.EndpointStatus{Type: peer.Relayed, Address: "198.51.100.7:7000"}},
		{Name: "tv", ID: "cccc", State: peer.Idle, Path: peer.PathNone, Why: "not connected to the hub", MTU: 1280},
		{Name: "away", ID: "dddd", Addresses: addrs("10.77.0.5"), State: peer.Connected, Path: peer.PathDirect, MTU: 1280},
	}
}

func behind(self tunnel.SelfStatus, m peer.Mapping) tunnel.SelfStatus {
	self.NAT.Mapping = m
	return self
}

func filtered(self tunnel.SelfStatus, m, f peer.Mapping) tunnel.SelfStatus {
	self.NAT = tunnel.NATStatus{Mapping: m, Filtering: f}
	return self
}

func TestPrintStatus(t *testing.T) {
	self := tunnel.SelfStatus{Name: "laptop", State: "up", Interface: "p2ptun0",
		Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("fd00::1")}}
	rtt := 12.3
	withRelays := self
	withRelays.Relays = []tunnel.RelayStatus{{Server: "192.0.2.1:3478", RTT: &rtt, Held: true}, {Server: "192.0.2.2:3478", RTT: &rtt},
		{Server: "192.0.2.3:3478", Held: true, Error: "does not answer"}, {Server: "[2001:db8::1]:3478", Held: true, Error: "does not answer"}}
	blocked := self
	blocked.UDPBlocked = true
	home := tunnel.NetworkStatus{Name: "home", ID: "wxyz"}
	hub := func(connected bool, err string) tunnel.HubStatus {
		return tunnel.HubStatus{URL: "ws://192.0.2.1:443", Connected: connected, Error: err}
	}
	const head = "laptop in home: up on p2ptun0\naddresses: 10.77.0.1, fd00::1\n"
	const alone = "\nno other members; `p2ptun invite` prints what another machine needs to join\n"
	for _, tt := range []struct {
		name string
		s    tunnel.Status
		want string
	}{
		{"peers", tunnel.Status{Self: self, Network: home, Hub: hub(true, "old trouble"), Peers: testPeers()}, head +
			`hub: connected to ws://192.0.2.1:443

NODE     ADDRESS    STATE      PATH     AT                 RTT      RX / TX           HANDSHAKE
desktop  10.77.0.2  connected  direct   203.0.113.9:6000   12.3 ms  5.0 MiB / 1000 B  1m23s ago
phone    10.77.0.3  connected  relayed  198.51.100.7:7000  -        0 B / 0 B         never
tv       -          offline    none     -                  -        0 B / 0 B         never
away     10.77.0.5  connected  direct   -                  -        0 B / 0 B         never
phone: relayed: no direct way has answered so far
tv: not connected to the hub
`},
		{"relays", tunnel.Status{Self: withRelays, Network: home, Hub: hub(true, "")}, head + "hub: connected to ws://192.0.2.1:443\n" +
			"relays: 192.0.2.1:3478 (12.3 ms), 192.0.2.3:3478 (does not answer)\n" + alone},
		{"no NAT", tunnel.Status{Self: behind(self, peer.MappingNone), Network: home, Hub: hub(true, "")}, head + "hub: connected to ws://192.0.2.1:443\nNAT: none\n" + alone},
		{"NAT", tunnel.Status{Self: behind(self, peer.MappingEndpointIndependent), Network: home, Hub: hub(true, "")},
			head + "hub: connected to ws://192.0.2.1:443\nNAT: endpoint-independent mapping\n" + alone},
		{"NAT and filtering", tunnel.Status{Self: filtered(self, peer.MappingEndpointIndependent, peer.MappingAddressDependent), Network: home, Hub: hub(true, "")},
			head + "hub: connected to ws://192.0.2.1:443\nNAT: endpoint-independent mapping, address-dependent filtering\n" + alone},
		{"open", tunnel.Status{Self: filtered(self, peer.MappingNone, peer.MappingNone), Network: home, Hub: hub(true, "")}, head + "hub: connected to ws://192.0.2.1:443\nNAT: none\n" + alone},
		{"firewall", tunnel.Status{Self: filtered(self, peer.MappingNone, peer.MappingAddressAndPortDependent), Network: home, Hub: hub(true, "")},
			head + "hub: connected to ws://192.0.2.1:443\nNAT: none, but a firewall that lets in who was sent to alone\n" + alone},
		{"UDP blocked", tunnel.Status{Self: blocked, Network: home, Hub: hub(true, "")},
			head + "hub: connected to ws://192.0.2.1:443\nNAT: UDP is blocked here; `p2ptun netcheck` says more\n" + alone},
		{"symmetric NAT", tunnel.Status{Self: behind(self, peer.MappingAddressDependent), Network: home, Hub: hub(true, "")},
			head + "hub: connected to ws://192.0.2.1:443\nNAT: address-dependent mapping (symmetric)\n" + alone},
		{"alone", tunnel.Status{Self: self, Network: home, Hub: hub(false, "")}, head + "hub: connecting to ws://192.0.2.1:443\n" + alone},
		{"hub refuses", tunnel.Status{Self: self, Network: home, Hub: hub(false, "the hub refused: no")},
			head + "hub: not connected to ws://192.0.2.1:443: the hub refused: no\n" + alone},
		{"hub unreachable", tunnel.Status{Self: self, Network: home, Hub: hub(false, "cannot reach the hub at ws://192.0.2.1:443: refused")},
			head + "hub: not connected: cannot reach the hub at ws://192.0.2.1:443: refused\n" + alone},
		{"joining", tunnel.Status{Self: tunnel.SelfStatus{Name: "laptop", State: "joining", Interface: "p2ptun0"},
			Network: tunnel.NetworkStatus{ID: "wxyz"}, Hub: hub(true, "")},
			"laptop is joining the network wxyz and waits to be admitted\nhub: connected to ws://192.0.2.1:443\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got bytes.Buffer
			printStatus(&got, tt.s, now)
			if got.String() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got.String(), tt.want)
			}
		})
	}
}

func TestByteText(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 5 << 30: "5.0 GiB", 1<<64 - 1: "16.0 EiB",
	} {
		if got := byteText(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestAgeText(t *testing.T) {
	at := func(d time.Duration) *time.Time { t := now.Add(d); return &t }
	for _, tt := range []struct {
		t    *time.Time
		want string
	}{
		{nil, "never"}, {at(0), "0s ago"}, {at(-90*time.Second - 400*time.Millisecond), "1m30s ago"}, {at(time.Hour), "0s ago"},
	} {
		if got := ageText(tt.t, now); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.t, got, tt.want)
		}
	}
}
