//go:build linux

package tunnel

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
)

var (
	second = netip.MustParseAddr("127.0.0.2")      // local on Linux, as all of 127/8
	gone   = netip.MustParseAddr("198.51.100.200") // documentation range: not ours
)

func TestSendFromLocal(t *testing.T) {
	checkLeaks(t)
	c, addr := listenUDP(t, "127.0.0.1:0")
	b := NewBind(BindConfig{Handler: newRecorder()})
	_, port := openBind(t, b, 0)
	tests := []struct {
		name        string
		local, want netip.Addr
	}{
		{"the kernel's choice", netip.Addr{}, home},
		{"the first", home, home},
		{"another", second, second},
		{"another, as IPv4 in IPv6", netip.AddrFrom16(second.As16()), second},
		{"one that is gone", gone, home},
		{"of the other family", netip.IPv6Loopback(), home},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := netip.AddrPortFrom(tt.want, port)
			if err := b.SendTo([]byte("raw"), tt.local, addr); err != nil {
				t.Fatal(err)
			}
			if from := expect(t, c, []byte("raw")); from != want {
				t.Errorf("SendTo left from %v, want %v", from, want)
			}
			e := b.NewEndpoint(nameA, nil)
			e.SetPath(Path{Local: tt.local, Remote: addr})
			data := wireGuardMessage(typeTransport, 64)
			if err := b.Send([][]byte{data}, e); err != nil {
				t.Fatal(err)
			}
			if from := expect(t, c, data); from != want {
				t.Errorf("Send left from %v, want %v", from, want)
			}
		})
	}
	if src := b.sources.find(netip.IPv6Loopback()); src == nil || src.control == nil {
		t.Errorf("an address asked for in the wrong family is %+v, want it kept", src)
	}
}

// TestSourceComesBack follows an address through its life: pinned, gone,
// seen again.
func TestSourceComesBack(t *testing.T) {
	unreachable, lost := false, true
	c := &fakeConn{write: func(_, source []byte) error {
		if unreachable || lost && len(source) > 0 {
			return syscall.EINVAL
		}
		return nil
	}}
	b := NewBind(BindConfig{Handler: newRecorder()})
	b.v4.Store(&socket{c})
	e := b.NewEndpoint(nameA, nil)
	e.SetPath(Path{Local: gone, Remote: stranger})
	data := [][]byte{wireGuardMessage(typeTransport, 64)}

	// send sends once, and tells from which interface and with how many tries.
	send := func(step string, ifindex, tries int) {
		t.Helper()
		c.tries = 0
		if err := b.Send(data, e); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		var want []byte
		if ifindex > 0 {
			want = udpbatch.Source(gone, ifindex)
		}
		if got := c.sent[len(c.sent)-1].source; got != string(want) || c.tries != tries {
			t.Errorf("%s: from %x in %d tries, want %x in %d", step, got, c.tries, want, tries)
		}
	}
	send("address not ours", 0, 2)
	send("given up", 0, 1)
	b.sources.learn(gone, 7)
	lost = false
	send("a packet came for it", 7, 1)
	b.sources.learn(gone, 8)
	send("it moved", 8, 1)

	// When nothing can be sent at all, the source is not to blame.
	unreachable = true
	if err := b.Send(data, e); err == nil {
		t.Error("no error while nothing can be sent")
	}
	unreachable = false
	send("the network is back", 8, 1)

	b.NetworkChanged()
	if b.sources.find(gone) != nil {
		t.Error("a source is known after the network changed")
	}
}

func TestSourcesLearn(t *testing.T) {
	var s sources
	for _, a := range []string{"", "224.0.0.1", "ff02::1", "0.0.0.0"} {
		addr, _ := netip.ParseAddr(a)
		s.learn(addr, 1)
	}
	if m := s.current(); m != nil {
		t.Errorf("learned %v, want nothing", *m)
	}
	s.learn(second, 3)
	first := s.current()
	s.learn(second, 3)
	if s.current() != first {
		t.Error("what is known was learned again")
	}
	s.learn(second, 4)
	if got := s.find(second).ifindex; got != 4 {
		t.Errorf("interface %d, want the newest, 4", got)
	}
	for i := range 2 * maxSources {
		s.learn(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)
	}
	if n := len(*s.current()); n > maxSources {
		t.Errorf("%d sources are remembered, want at most %d", n, maxSources)
	}
}

func TestInterfaceOf(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip(err)
	}
	if got := interfaceOf(home); got != lo.Index {
		t.Errorf("interfaceOf(%v) = %d, want %d", home, got, lo.Index)
	}
	if got := interfaceOf(gone); got != 0 {
		t.Errorf("interfaceOf(%v) = %d, want 0", gone, got)
	}
}
