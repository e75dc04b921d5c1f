package hub

import (
	"net/netip"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/pion/stun/v4"
)

var (
	privateForms = []string{
		"10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.254",
		"fc00::1", "fd12:3456::1",
	}
	neverForms = []string{
		"127.0.0.2", "127.255.255.254", // loopback; ::1 is the hub itself here
		"169.254.1.1", "fe80::1", // link-local
		"169.254.169.254", "100.100.100.200", "fd00:ec2::254", // metadata
		"224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "ff02::1", "ff05::2", // multicast and the like
		"0.0.0.0", "0.1.2.3", "::", // unspecified
		"::10.0.0.1", "::127.0.0.1", // IPv4-compatible
		"64:ff9b::7f00:1", "64:ff9b::cb00:7105", "64:ff9b:1::a00:1", // NAT64
		"2002:7f00:1::1", "2002:cb00:7105::1", "192.88.99.1", // 6to4
		"2001:0:cb00:7105::1", // Teredo
		"192.0.0.8", "198.18.0.1", "fec0::1", "100::1",
	}
	mappedForms = []string{"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8"}

	// Not for these reasons, but nobody of the network comes from there.
	elsewhereAddr = []string{"203.0.113.6", "2001:db8::6", "8.8.8.8", "2606:4700::1111", "203.0.113.77", "2001:db8::77"}
	members       = []string{"203.0.113.5", "2001:db8::5"}
)

// relayAsProxy is a hub and what a member has at it in each family.
type relayAsProxy struct {
	t     *testing.T
	h     *testHub
	owner identity
	v4    *rawTURN
	v6    *rawTURN
	bound uint16 // channels asked for
}

func newRelayAsProxy(t *testing.T, allowPrivate bool) *relayAsProxy {
	t.Helper()
	h := startHub(t, Config{PublicAddrs: []netip.Addr{loopback, netip.IPv6Loopback()}}, func(h *Hub) {
		h.admitted.allowPrivate = allowPrivate
		h.relay.known.rate, h.relay.known.burst = 1e6, 1e6 // the errors of the test are many
		h.relay.strangers.rate, h.relay.strangers.burst = 1e6, 1e6
	})
	p := &relayAsProxy{t: t, h: h, owner: identity{config.NewNetworkKey().Public(), config.NodeKey{1}}}
	cred := issue(h, p.owner)
	p.v4 = newRawTURN(t, cred.Servers[0], "127.0.0.1", cred).allocate()
	p.v6 = newRawTURN(t, cred.Servers[1], "::1", cred).allocate()
	// The worst case: a member of the network says it comes from there.
	for _, forms := range [][]string{privateForms, neverForms, mappedForms, members} {
		for _, a := range forms {
			h.admitted.hold(p.owner.network, netip.MustParseAddr(a))
		}
	}
	for _, a := range []string{"203.0.113.6", "2001:db8::6"} {
		h.admitted.hold(config.NewNetworkKey().Public(), netip.MustParseAddr(a))
	}
	// Addresses of the hub that no relay is announced at.
	own := addrSet{}
	for _, a := range []string{"203.0.113.77", "2001:db8::77"} {
		h.admitted.hold(p.owner.network, netip.MustParseAddr(a))
		own[netip.MustParseAddr(a)] = struct{}{}
	}
	h.relay.setMachine(own)
	return p
}

func (p *relayAsProxy) of(a netip.Addr) *rawTURN {
	if a.Is4() {
		return p.v4
	}
	return p.v6
}

// sent is how much the member has had relayed, as its meter has it.
func (p *relayAsProxy) sent() int64 {
	p.h.relay.mu.RLock()
	defer p.h.relay.mu.RUnlock()
	return p.h.relay.shares[p.owner].meter.paid.Load()
}

// try asks for the address in every way there is.
func (p *relayAsProxy) try(c *rawTURN, a netip.Addr, want stun.ErrorCode) {
	p.t.Helper()
	to := netip.AddrPortFrom(a, 53)
	before := p.sent()
	p.bound++
	c.indicate("x", to)
	if p.sent() != before {
		p.t.Errorf("%v: relayed without a permission", a)
	}
	for what, code := range map[string]stun.ErrorCode{
		"CreatePermission": c.permission(a),
		"ChannelBind":      c.bind(0x4000+p.bound, to),
	} {
		if code != want {
			p.t.Errorf("%s %v: error %d, want %d", what, a, code, want)
		}
	}
	before = p.sent()
	c.indicate("x", to)
	if relayed := p.sent() != before; relayed != (want == 0) {
		p.t.Errorf("%v: an indication was relayed: %v", a, relayed)
	}
}

// The relay is no way to anything but the members of the client's network.
func TestOpenRelay(t *testing.T) {
	for _, lan := range []bool{false, true} {
		name := "public hub"
		if lan {
			name = "hub on a LAN"
		}
		t.Run(name, func(t *testing.T) {
			p := newRelayAsProxy(t, lan)
			tryAll := func(forms []string, want stun.ErrorCode) {
				for _, s := range forms {
					a := netip.MustParseAddr(s)
					p.try(p.of(a), a, want)
				}
			}
			tryAll(neverForms, stun.CodeForbidden)
			tryAll(elsewhereAddr, stun.CodeForbidden)
			tryAll(members, 0)
			if lan {
				tryAll(privateForms, 0)
			} else {
				tryAll(privateForms, stun.CodeForbidden)
			}
			for _, s := range mappedForms {
				a := netip.MustParseAddr(s)
				p.try(p.v4, a, stun.CodeForbidden)
				p.try(p.v6, a, stun.CodePeerAddrFamilyMismatch)
			}
			// For pion/turn the mapped form of a permitted address is permitted.
			mapped := netip.AddrPortFrom(netip.MustParseAddr("::ffff:203.0.113.5"), 53)
			before := p.h.drops.forbidden.Load()
			p.v4.indicate("x", mapped)
			if code := p.v4.permission(mapped.Addr()); code != stun.CodeForbidden || p.h.drops.forbidden.Load() != before+1 {
				t.Errorf("mapped form of a permitted address: error %d, %d packets dropped", code, p.h.drops.forbidden.Load()-before)
			}
			// Each family has its own relay.
			if code := p.v4.permission(netip.MustParseAddr("2001:db8::5")); code != stun.CodePeerAddrFamilyMismatch {
				t.Errorf("IPv6 peer of an IPv4 relay: error %d", code)
			}
			if code := p.v6.permission(netip.MustParseAddr("203.0.113.5")); code != stun.CodePeerAddrFamilyMismatch {
				t.Errorf("IPv4 peer of an IPv6 relay: error %d", code)
			}
			if p.h.drops.permissions.Load() == 0 {
				t.Error("nothing was counted")
			}
		})
	}
}

// One address among permitted ones is enough to be refused.
func TestPermissionForSeveral(t *testing.T) {
	p := newRelayAsProxy(t, false)
	several := []stun.Setter{
		peerAddress(netip.MustParseAddrPort("203.0.113.5:1")), peerAddress(netip.MustParseAddrPort("169.254.169.254:80")),
	}
	if code := p.v4.code(stun.MethodCreatePermission, several...); code != stun.CodeForbidden {
		t.Errorf("error %d, want %d", code, stun.CodeForbidden)
	}
}

// No way leads to a TCP connection of the hub's (RFC 6062).
func TestNoConnect(t *testing.T) {
	p := newRelayAsProxy(t, true)
	for addr, want := range map[string]stun.ErrorCode{
		"203.0.113.5": stun.CodeConnTimeoutOrFailure, "127.0.0.1": stun.CodeConnTimeoutOrFailure,
		"10.1.2.3": stun.CodeConnTimeoutOrFailure, "169.254.169.254": stun.CodeForbidden, "8.8.8.8": stun.CodeForbidden,
	} {
		if code := p.v4.code(stun.MethodConnect, peerAddress(netip.AddrPortFrom(netip.MustParseAddr(addr), 80))); code != want {
			t.Errorf("connect to %s: error %d, want %d", addr, code, want)
		}
	}
	if code := p.v4.code(stun.MethodConnectionBind, attribute(stun.AttrConnectionID, 0, 0, 0, 1)); code != stun.CodeBadRequest {
		t.Errorf("connection bind: error %d", code)
	}
}

// What an Allocate may ask for besides: nothing opens a second port, one of the
// client's choice, or TCP.
func TestAllocateOptions(t *testing.T) {
	p := newRelayAsProxy(t, false)
	tests := []struct {
		name  string
		attrs []stun.Setter
		want  stun.ErrorCode
	}{
		{"no transport", nil, stun.CodeBadRequest},
		{"TCP", []stun.Setter{overTCP}, stun.CodeInsufficientCapacity},
		{"SCTP", []stun.Setter{attribute(stun.AttrRequestedTransport, 132, 0, 0, 0)}, stun.CodeUnsupportedTransProto},
		{"even port", []stun.Setter{overUDP, attribute(stun.AttrEvenPort, 0)}, stun.CodeInsufficientCapacity},
		{"even port and the next", []stun.Setter{overUDP, attribute(stun.AttrEvenPort, 0x80)}, stun.CodeInsufficientCapacity},
		{"reservation", []stun.Setter{overUDP, attribute(stun.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)}, stun.CodeInsufficientCapacity},
		{"both", []stun.Setter{overUDP, attribute(stun.AttrEvenPort, 0), attribute(stun.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)}, stun.CodeBadRequest},
		{"don't fragment", []stun.Setter{overUDP, attribute(stun.AttrDontFragment)}, stun.CodeUnknownAttribute},
		{"no such family", []stun.Setter{overUDP, attribute(stun.AttrRequestedAddressFamily, 3, 0, 0, 0)}, stun.CodeAddrFamilyNotSupported},
		{"IPv4", []stun.Setter{overUDP, wantIPv4}, 0},
		{"IPv6", []stun.Setter{overUDP, wantIPv6}, 0},
	}
	for _, tt := range tests {
		cred := issue(p.h, p.owner)
		c := newRawTURN(t, cred.Servers[0], "127.0.0.1", cred)
		if code := c.code(stun.MethodAllocate, tt.attrs...); code != tt.want {
			t.Errorf("%s: error %d, want %d", tt.name, code, tt.want)
		}
	}
	// A relay of the other family is bound by the same rules.
	cred := issue(p.h, p.owner)
	c := newRawTURN(t, cred.Servers[0], "127.0.0.1", cred).allocate(wantIPv6)
	p.try(c, netip.MustParseAddr("2002:cb00:7105::1"), stun.CodeForbidden)
	p.try(c, netip.MustParseAddr("fe80::1"), stun.CodeForbidden)
	p.try(c, netip.MustParseAddr("2001:db8::5"), 0)
	p.try(c, netip.MustParseAddr("203.0.113.5"), stun.CodePeerAddrFamilyMismatch)
}
