package hub

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

var (
	twoAddresses = corners{
		{true, netip.MustParseAddrPort("192.0.2.1:3478")}, {true, netip.MustParseAddrPort("192.0.2.1:3479")},
		{true, netip.MustParseAddrPort("192.0.2.9:3478")}, {true, netip.MustParseAddrPort("192.0.2.9:3479")},
	}
	oneAddress = corners{twoAddresses[0], twoAddresses[1]}
)

// request is a Binding request with attributes, in hex; RFC 3489's has no cookie.
func request(t testing.TB, cookie string, attributes string) []byte {
	t.Helper()
	attrs, err := hex.DecodeString(strings.ReplaceAll(attributes, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	head, _ := hex.DecodeString("00010000" + cookie + "000102030405060708090a0b")
	binary.BigEndian.PutUint16(head[2:], uint16(len(attrs)))
	return append(head, attrs...)
}

const cookie, noCookie = "2112a442", "deadbeef"

func TestBindingReply(t *testing.T) {
	const (
		mapped  = " 00200008 0001 2020 ea12d545" // 203.0.113.7:306 and the cookie
		plain   = " 00010008 0001 0132 cb007107" // MAPPED-ADDRESS
		origin0 = " 802b0008 0001 0d96 c0000201" // RESPONSE-ORIGIN 192.0.2.1:3478
		origin1 = " 802b0008 0001 0d97 c0000201" //                 192.0.2.1:3479
		origin2 = " 802b0008 0001 0d96 c0000209" //                 192.0.2.9:3478
		origin3 = " 802b0008 0001 0d97 c0000209" //                 192.0.2.9:3479
		other   = " 802c0008 0001 0d97 c0000209" // OTHER-ADDRESS of the first socket
		other3  = " 802c0008 0001 0d96 c0000201" //               of the last
		e420    = " 00090004 00000414"           // ERROR-CODE
		success = "01010000" + cookie + " 000102030405060708090a0b"
		failure = "01110000" + cookie + " 000102030405060708090a0b"
		classic = "01010000" + noCookie + " 000102030405060708090a0b"
	)
	from := netip.MustParseAddrPort("203.0.113.7:306")
	for _, tt := range []struct {
		name       string
		server     corners
		at         int
		cookie     string
		attributes string
		want       string // without the length
		via        int
		port       uint16
	}{
		{"bare", twoAddresses, 0, cookie, "", success + mapped + origin0 + other, 0, 306},
		{"bare, at the last", twoAddresses, 3, cookie, "", success + mapped + origin3 + other3, 3, 306},
		{"bare, one address", oneAddress, 0, cookie, "", success + mapped + origin0, 0, 306},
		{"change nothing", oneAddress, 0, cookie, "00030004 00000000", success + mapped + origin0, 0, 306},
		{"change port", twoAddresses, 0, cookie, "00030004 00000002", success + mapped + origin1 + other, 1, 306},
		{"change address", twoAddresses, 0, cookie, "00030004 00000004", success + mapped + origin2 + other, 2, 306},
		{"change both", twoAddresses, 0, cookie, "00030004 00000006", success + mapped + origin3 + other, 3, 306},
		{"change both, at the last", twoAddresses, 3, cookie, "00030004 00000006", success + mapped + origin0 + other3, 0, 306},
		{"change port, one address", oneAddress, 0, cookie, "00030004 00000002", success + mapped + origin1, 1, 306},
		{"change address, one address", oneAddress, 0, cookie, "00030004 00000004", failure + e420 + " 000a0002 00030000", 0, 306},
		{"response port", twoAddresses, 0, cookie, "00270004 12340000", success + mapped + origin0 + other, 0, 0x1234},
		{"response port, changed address", twoAddresses, 0, cookie, "00270002 12340000 00030004 00000004", success + mapped + origin2 + other, 2, 0x1234},
		{"padding", oneAddress, 0, cookie, "00260004 00000000", failure + e420 + " 000a0002 00260000", 0, 306},
		{"two unknown, an optional one", oneAddress, 0, cookie, "7ffe0000 c0de0001 01000000 7fff0000", failure + e420 + " 000a0004 7ffe7fff", 0, 306},
		{"credentials", oneAddress, 0, cookie, "00060001 61000000", success + mapped + origin0, 0, 306},
		{"classic", twoAddresses, 0, noCookie, "", classic + plain + " 00040008 0001 0d96 c0000201 00050008 0001 0d97 c0000209", 0, 306},
		{"classic, one address", oneAddress, 0, noCookie, "", classic + plain + " 00040008 0001 0d96 c0000201", 0, 306},
		{"classic, to another address", oneAddress, 0, noCookie, "00020008 0001 0035 08080808",
			strings.Replace(classic, "0101", "0111", 1) + e420 + " 000a0002 00020000", 0, 306},
	} {
		b := request(t, tt.cookie, tt.attributes)
		a, ok := tt.server.bindingReply(b, from, tt.at)
		want, err := hex.DecodeString(strings.ReplaceAll(tt.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		binary.BigEndian.PutUint16(want[2:], uint16(len(want)-stunHeaderSize))
		if to := netip.AddrPortFrom(from.Addr(), tt.port); !ok || !bytes.Equal(a.raw, want) || a.from != tt.via || a.to != to {
			t.Errorf("%s: %x by %d to %v, %v; want\n%x by %d to %v", tt.name, a.raw, a.from, a.to, ok, want, tt.via, to)
		}
	}
}

// TestBindingNoReply: what is malformed, or no Binding request, is not answered.
func TestBindingNoReply(t *testing.T) {
	whole := request(t, cookie, "")
	for name, b := range map[string][]byte{
		"short": whole[:19], "longer than it says": append(bytes.Clone(whole), 0), "a success": append([]byte{1, 1}, whole[2:]...),
		"Allocate": append([]byte{0, 3}, whole[2:]...), "indication": append([]byte{0, 0x11}, whole[2:]...),
		"cut attribute": request(t, cookie, "0003"), "longer attribute": request(t, cookie, "00030008 00000002"),
		"short CHANGE-REQUEST": request(t, cookie, "00030002 00020000"), "long CHANGE-REQUEST": request(t, cookie, "00030008 0000000200000000"),
		"RESPONSE-PORT 0": request(t, cookie, "00270004 00000000"),
	} {
		if a, ok := twoAddresses.bindingReply(b, netip.MustParseAddrPort("203.0.113.7:306"), 0); ok {
			t.Errorf("%s: answered with %x", name, a.raw)
		}
	}
}

// FuzzBindingReply: an answer is well formed, short, of the request's transaction,
// leaves from a socket that there is, and goes to who has asked.
func FuzzBindingReply(f *testing.F) {
	for _, attributes := range []string{"", "00030004 00000006", "00270004 12340000", "7ffe0000 c0de0001 01000000 7fff0000", "00260004 00000000"} {
		f.Add(request(f, cookie, attributes), false)
		f.Add(request(f, noCookie, attributes), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		from := netip.MustParseAddrPort("203.0.113.7:306")
		if six {
			from = netip.MustParseAddrPort("[2001:db8::7]:306")
		}
		for at, server := range []corners{oneAddress, twoAddresses} {
			a, ok := server.bindingReply(b, from, at)
			if !ok {
				continue
			}
			if !server[a.from].open || a.to.Addr() != from.Addr() {
				t.Errorf("by %d to %v", a.from, a.to)
			}
			if !bytes.Equal(a.raw[4:20], b[4:20]) || int(binary.BigEndian.Uint16(a.raw[2:])) != len(a.raw)-20 {
				t.Errorf("%x answered with %x", b, a.raw)
			}
			if wire := onWire(len(a.raw), from) / onWire(len(b), from); wire > 2.1 {
				t.Errorf("%d bytes answered with %d", len(b), len(a.raw))
			}
			m := &stun.Message{Raw: a.raw}
			if binary.BigEndian.Uint32(b[4:]) == stunCookie && m.Decode() != nil {
				t.Errorf("not decoded: %x", a.raw)
			}
		}
	})
}

// TestRFC5769 encodes the addresses of RFC 5769 sections 2.2 and 2.3.
func TestRFC5769(t *testing.T) {
	head := "0001 0000 2112a442 b7e7a701 bc34d686 fa87dfae"
	for address, want := range map[string]string{
		"192.0.2.1:32853": "00200008 0001a147 e112a643",
		"[2001:db8:1234:5678:11:2233:4455:6677]:32853": "00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(head, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		server := corners{{open: true}}
		a, ok := server.bindingReply(b, netip.MustParseAddrPort(address), 0)
		if got := hex.EncodeToString(a.raw[stunHeaderSize:]); !ok || got != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// TestBindingByStream: a stream has no other address or port to answer from, also
// where the hub has, and promises none.
func TestBindingByStream(t *testing.T) {
	h := startHub(t, Config{AltAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.2")}})
	for _, tt := range []struct {
		attributes string
		want       stun.MessageType
	}{
		{"", stun.BindingSuccess}, {"00030004 00000002", stun.BindingError}, {"00030004 00000006", stun.BindingError},
	} {
		c := streams["TCP"](t, h, "127.0.0.3")
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Write(request(t, cookie, tt.attributes)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 200)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		m := &stun.Message{Raw: b[:n]}
		if err := m.Decode(); err != nil || m.Type != tt.want || m.Contains(stun.AttrOtherAddress) || m.Contains(stun.AttrResponseOrigin) {
			t.Errorf("%q: %v, %v", tt.attributes, m, err)
		}
	}
}
