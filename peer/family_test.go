package peer

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

var (
	four4 = netip.MustParseAddrPort("203.0.113.1:3478")
	six6  = netip.MustParseAddrPort("[2001:db8::1]:3478")
)

// What a server is asked to relay to depends on what this node reaches without it.
func TestRelays4(t *testing.T) {
	own4, own6 := netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("2001:db8::8")
	for _, tt := range []struct {
		name             string
		hosts            []netip.Addr
		silent, answered bool // the IPv4 server
		only6            bool // the IPv6 server has said so
		want             bool
	}{
		{"both families", []netip.Addr{own6, own4}, false, true, false, false},
		{"not asked yet", []netip.Addr{own6, own4}, false, false, false, false},
		{"IPv6 alone", []netip.Addr{own6}, true, false, false, true},
		{"IPv6 alone, refused", []netip.Addr{own6}, true, false, true, false},
		{"an address without a way", []netip.Addr{own6, own4}, true, false, false, true},
		{"the server is away", []netip.Addr{own6, own4}, true, true, false, false},
		{"no address yet", nil, false, false, false, false},
	} {
		u := NewUnderlay(UnderlayConfig{Port: 7})
		u.SetAddresses(tt.hosts)
		u.SetServers([]Server{{Addr: four4}, {Addr: six6}})
		four, six := (*u.servers.Load())[four4], (*u.servers.Load())[six6]
		if tt.answered {
			u.setReflexive(four, reflexive{mapped: testRemote, base: own4})
		}
		if tt.silent {
			four.probe.silent()
		}
		if tt.only6 {
			six.only6.Store(time.Now().Add(time.Hour).Unix())
		}
		if got := six.relays4(); got != tt.want {
			t.Errorf("%s: IPv4 from the IPv6 server %v, want %v", tt.name, got, tt.want)
		}
		if !four.relays4() {
			t.Errorf("%s: the IPv4 server is not asked for IPv4", tt.name)
		}
	}
}

// A server that does not relay to IPv4 is asked for what it has, and remembered.
func TestRelayFamilyRefused(t *testing.T) {
	for _, code := range []stun.ErrorCode{stun.CodeAddrFamilyNotSupported, stun.CodeInsufficientCapacity} {
		var asked []byte
		var s *server
		u := NewUnderlay(UnderlayConfig{Port: 7, Socket: socketFunc(func(b []byte, _ netip.Addr, _ netip.AddrPort) error {
			m := &stun.Message{Raw: bytes.Clone(b)}
			err := m.Decode()
			family, _ := m.Get(stun.AttrRequestedAddressFamily)
			if len(family) == 0 {
				return errors.Join(err, errors.New("no family"))
			}
			asked = append(asked, family[0])
			answer := turnAnswer(m, stun.ClassErrorResponse, code)
			if family[0] == 2 {
				answer = turnAnswer(m, stun.ClassSuccessResponse, relayedAddress(net.ParseIP("2001:db8::9")))
			}
			s.client.Load().handle(answer.Raw)
			return nil
		})})
		u.SetAddresses([]netip.Addr{netip.MustParseAddr("2001:db8::8")})
		u.SetServers([]Server{{Addr: six6}})
		s = (*u.servers.Load())[six6]
		r, err := s.allocate(t.Context(), nil)
		if err != nil || r.addr.Addr().Is4() || !bytes.Equal(asked, []byte{1, 2}) {
			t.Fatalf("%v: %v after asking for %v, want IPv4 and then IPv6", code, err, asked)
		}
		if s.relays4() {
			t.Errorf("%v: IPv4 is wanted still", code)
		}
	}
}

// relayedAddress is the attribute XOR-RELAYED-ADDRESS.
func relayedAddress(ip net.IP) stun.Setter {
	return setterFunc(func(m *stun.Message) error {
		return stun.XORMappedAddress{IP: ip, Port: 5000}.AddToAs(m, stun.AttrXORRelayedAddress)
	})
}

// Nobody waits for what a server of another family would tell.
func TestGatheredWithoutFamily(t *testing.T) {
	own6 := netip.MustParseAddr("2001:db8::8")
	u := NewUnderlay(UnderlayConfig{Port: 7})
	u.SetServers([]Server{{Addr: four4}, {Addr: six6}})
	six := (*u.servers.Load())[six6]
	u.setReflexive(six, reflexive{mapped: netip.AddrPortFrom(own6, 7), base: own6})
	u.settle(six)
	for _, tt := range []struct {
		hosts []netip.Addr
		want  bool
	}{{nil, false}, {[]netip.Addr{own6}, true}, {[]netip.Addr{own6, netip.MustParseAddr("192.168.1.2")}, false}} {
		u.SetAddresses(tt.hosts)
		if _, all := u.Gathered(); all != tt.want {
			t.Errorf("with %v, all is gathered: %v, want %v", tt.hosts, all, tt.want)
		}
	}
}
