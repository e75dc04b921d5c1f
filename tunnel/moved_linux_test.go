package tunnel

import (
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A connection is worth keeping from the address that the machine sends from, and
// from any other while it sends nowhere.
func TestSendsFrom(t *testing.T) {
	runtime.LockOSThread() // ends with the test, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of its own for the test: %v", err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	one, two, gone := netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("192.168.2.2"), netip.MustParseAddr("192.168.3.2")
	six := netip.MustParseAddr("2001:db8::2")
	link := func(name string, addrs ...netip.Addr) int {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		dummy := &netlink.Veth{LinkAttrs: attrs, PeerName: name + "-peer"}
		must(netlink.LinkAdd(dummy))
		must(netlink.LinkSetUp(dummy))
		for _, a := range addrs {
			bits := 24
			addr := &netlink.Addr{}
			if a.Is6() {
				bits, addr.Flags = 64, unix.IFA_F_NODAD
			}
			addr.IPNet = &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}
			must(netlink.AddrAdd(dummy, addr))
		}
		return dummy.Index
	}
	eth0, eth1 := link("eth0", one, six), link("eth1", two)
	check := func(when string, want map[netip.Addr]bool) {
		t.Helper()
		for a, w := range want {
			if got := sendsFrom(a); got != w {
				t.Errorf("%s: sends from %v: %v, want %v", when, a, got, w)
			}
		}
	}
	check("no way out", map[netip.Addr]bool{one: true, two: true, six: true, gone: false})
	all := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	must(netlink.RouteReplace(&netlink.Route{LinkIndex: eth0, Dst: all, Gw: net.IPv4(192, 168, 1, 1)}))
	check("by eth0", map[netip.Addr]bool{one: true, two: false, six: true, gone: false})
	must(netlink.RouteReplace(&netlink.Route{LinkIndex: eth1, Dst: all, Gw: net.IPv4(192, 168, 2, 1)}))
	check("by eth1", map[netip.Addr]bool{one: false, two: true, six: true, gone: false})
}
