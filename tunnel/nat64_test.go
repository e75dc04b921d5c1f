package tunnel

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/p2ptun/p2ptun/internal/nat64"
	"github.com/p2ptun/p2ptun/internal/udpbatch"
	"github.com/p2ptun/p2ptun/peer"
	"golang.zx2c4.com/wireguard/conn"
)

var (
	behind4 = netip.MustParseAddrPort("192.0.2.1:7")
	behind6 = netip.MustParseAddrPort("[64:ff9b::192.0.2.1]:7")
)

// through gives w the prefix 64:ff9b::/96, as a resolver would.
func through(t *testing.T, w *nat64.Way) {
	t.Helper()
	w.Lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("64:ff9b::192.0.0.170")}, nil
	}
	if changed, err := w.Seek(t.Context()); !changed || err != nil {
		t.Fatalf("changed %v, %v", changed, err)
	}
}

// What is for an IPv4 address leaves for the one behind the NAT64, by whatever way it
// is sent, and what comes from there is from the IPv4 address, for the machine's own.
func TestBindNAT64(t *testing.T) {
	h, six, way := newRecorder(), &fakeConn{}, new(nat64.Way)
	b := NewBind(BindConfig{Handler: h, NAT64: way})
	b.v6.Store(&socket{six})
	if err := b.SendTo([]byte{1}, nat64.Local, behind4); err == nil {
		t.Error("IPv4 was sent though there is none")
	}
	through(t, way)
	e := b.NewEndpoint(nameA, nil)
	e.SetPath(Path{Local: nat64.Local, Remote: behind4})
	e.AddSource(nil, behind4)
	packets := dataPackets([]int{64, 64})
	if err := b.Send(packets, e); err != nil {
		t.Error(err)
	}
	if err := b.SendTo([]byte{1}, nat64.Local, behind4); err != nil {
		t.Error(err)
	}
	if len(six.sent) != 3 {
		t.Fatalf("%d datagrams left, want 3", len(six.sent))
	}
	for _, w := range six.sent {
		if w.to != behind6 || w.source != "" {
			t.Errorf("sent to %v from %q, want %v, and the kernel's choice", w.to, w.source, behind6)
		}
	}

	bufs, sizes, eps := [][]byte{packets[0], stunMessage(0x0001, 0)}, []int{64, 20}, make([]conn.Endpoint, 2)
	if !b.accept(bufs, sizes, eps, udpbatch.Arrival{From: behind6, Local: netip.MustParseAddr("2001:db8::8")}) || eps[0] != e {
		t.Errorf("a packet of the peer's is for %v", eps[0])
	}
	if got := next(t, h.calls); got.from != behind4 || got.local != nat64.Local {
		t.Errorf("STUN from %v to %v, want from %v to %v", got.from, got.local, behind4, nat64.Local)
	}
	native := netip.MustParseAddrPort("[2001:db8::1]:7")
	b.accept([][]byte{stunMessage(0x0001, 0)}, []int{20}, eps[:1], udpbatch.Arrival{From: native, Local: netip.MustParseAddr("2001:db8::8")})
	if got := next(t, h.calls); got.from != native || got.local == nat64.Local {
		t.Errorf("STUN from %v to %v, want from %v", got.from, got.local, native)
	}
}

// A relay's name leads behind the NAT64 where the resolver makes addresses: it is
// known by its own.
func TestNativeServers(t *testing.T) {
	n := new(Node)
	through(t, &n.nat64)
	other := netip.MustParseAddrPort("[2001:db8::1]:3478")
	got := n.native([]peer.Server{{Addr: behind6, Username: "u"}, {Addr: other}, {Addr: behind4}})
	if want := []peer.Server{{Addr: behind4, Username: "u"}, {Addr: other}, {Addr: behind4}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
