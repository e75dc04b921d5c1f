package behavior

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/stun/v4"
)

// newServer runs a STUN server of loopback until the test ends.
func newServer(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			m := &stun.Message{Raw: b[:n]}
			if m.Decode() == nil {
				answer := stun.MustBuild(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess, &stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())})
				conn.WriteToUDPAddrPort(answer.Raw, from)
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRequest(t *testing.T) {
	for _, tt := range []struct {
		q    question
		want string // after the transaction
		size string
	}{
		{question{}, "", "0000"},
		{question{change: changeAddr | changePort}, "00030004 00000006", "0008"},
		{question{change: changePort, port: 0x1234}, "00030004 00000002 00270004 12340000", "0010"},
	} {
		id, b := tt.q.request()
		want := append(append(unhex(t, "0001"+tt.size+"2112a442"), id[:]...), unhex(t, tt.want)...)
		if !bytes.Equal(b, want) {
			t.Errorf("%+v: %x, want %x", tt.q, b, want)
		}
	}
}

func TestDecode(t *testing.T) {
	const id = "2112a442 b7e7a701 bc34d686 fa87dfae"
	whole := message{kind: success, id: transaction(unhex(t, "b7e7a701bc34d686fa87dfae")),
		mapped: netip.MustParseAddrPort("192.0.2.1:32853"), origin: netip.MustParseAddrPort("192.0.2.1:3478"), other: netip.MustParseAddrPort("192.0.2.9:3479")}
	with := func(f func(*message)) message { m := whole; f(&m); return m }
	for _, tt := range []struct {
		name, b string
		want    message
		err     error
	}{
		{"success", "01010024" + id + "00200008 0001a147e112a643 802b0008 00010d96c0000201 802c0008 00010d97c0000209", whole, nil},
		{"old server", "0101000c" + id + "00010008 00018055c0000201", with(func(m *message) { m.origin, m.other = netip.AddrPort{}, netip.AddrPort{} }), nil},
		{"IPv6", "01010018" + id + "00200014 0002a147 0113a9faa5d3f179bc25f4b5bed2b9d9",
			with(func(m *message) {
				m.mapped, m.origin, m.other = netip.MustParseAddrPort("[2001:db8:1234:5678:11:2233:4455:6677]:32853"), netip.AddrPort{}, netip.AddrPort{}
			}), nil},
		{"no address", "01010000" + id, message{}, errNoAddress},
		{"OTHER-ADDRESS without a port", "01010018" + id + "00200008 0001a147e112a643 802c0008 00010000c0000209",
			with(func(m *message) { m.origin, m.other = netip.AddrPort{}, netip.AddrPort{} }), nil},
		{"refusal", "01110000" + id, message{kind: refusal, id: whole.id}, nil},
		{"request", "00010000" + id, message{kind: request, id: whole.id}, nil},
		{"Allocate", "00030000" + id, message{id: whole.id}, nil},
	} {
		got, err := decode(unhex(t, tt.b))
		if !errors.Is(err, tt.err) || err == nil && got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}

// FuzzDecode: what decodes as a success has an address that can be sent to.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"01010024 2112a442 b7e7a701bc34d686fa87dfae 00200008 0001a147e112a643 802b0008 00010d96c0000201 802c0008 00010d97c0000209",
		"0101000c 2112a442 b7e7a701bc34d686fa87dfae 00010008 00018055c0000201", "01110000 2112a442 b7e7a701bc34d686fa87dfae",
	} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		if m.kind == success && !m.mapped.IsValid() || m.kind != success && (m.mapped.IsValid() || m.other.IsValid()) {
			t.Errorf("%x: %+v", b, m)
		}
		for _, a := range []netip.AddrPort{m.mapped, m.origin, m.other} {
			if a.IsValid() && (a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().Is4In6()) {
				t.Errorf("%x: %v", b, a)
			}
		}
	})
}
