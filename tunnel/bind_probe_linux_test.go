package tunnel

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Data passes an interface that it is too long for, in fragments; a probe does
// not, and says so, and leaves the socket as it was.
func TestProbe(t *testing.T) {
	narrowLoopback(t, 1500)
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		sink, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
		if err != nil {
			t.Fatal(err)
		}
		defer sink.Close()
		to := sink.LocalAddr().(*net.UDPAddr).AddrPort()
		b := NewBind(BindConfig{Handler: newRecorder()})
		openBind(t, b, 0)
		longest := 1500 - 20 - 8
		if to.Addr().Is6() {
			longest -= 20
		}
		for range 2 {
			for _, local := range []netip.Addr{{}, to.Addr()} {
				if err := b.Probe(make([]byte, longest+4), local, to); !errors.Is(err, syscall.EMSGSIZE) {
					t.Errorf("probe of %d to %v: %v, want EMSGSIZE", longest+4, to, err)
				}
				if err := b.Probe(make([]byte, longest), local, to); err != nil {
					t.Errorf("probe of %d to %v: %v", longest, to, err)
				}
				if err := b.SendTo(make([]byte, 4000), local, to); err != nil {
					t.Errorf("data of 4000 to %v: %v", to, err)
				}
				for _, want := range []int{longest, 4000} {
					sink.SetReadDeadline(time.Now().Add(patience))
					if n, _, err := sink.ReadFromUDPAddrPort(make([]byte, 5000)); n != want || err != nil {
						t.Errorf("at %v: %d bytes, %v; want %d", to, n, err, want)
					}
				}
			}
		}
	}
}

// narrowLoopback puts the test into a network namespace whose loopback has the
// MTU. The thread, never unlocked, ends with the test, and the namespace with
// the last socket.
func narrowLoopback(t *testing.T, mtu int) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of its own for the test: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = errors.Join(netlink.LinkSetMTU(lo, mtu), netlink.LinkSetUp(lo))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Packets that pass everywhere are not told of.
func TestNoteSize(t *testing.T) {
	for _, tt := range []struct {
		sizes []int
		want  int
	}{{[]int{32, 1200}, 0}, {[]int{1204}, 1}, {[]int{100, 1472, 1472}, 1}} {
		told := 0
		b := NewBind(BindConfig{Handler: newRecorder()})
		e := b.NewEndpoint(nameA, nil)
		e.onLarge = func() { told++ }
		e.SetPath(Path{Remote: stranger, Relay: &plainRelay{}})
		b.Send(dataPackets(tt.sizes), e)
		if told != tt.want {
			t.Errorf("%v: told %d times, want %d", tt.sizes, told, tt.want)
		}
	}
}
