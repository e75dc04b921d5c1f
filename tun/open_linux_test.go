package tun

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

func TestOpenClose(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	checkLeaks(t)
	want := prefixes("10.77.0.2/16", "fd77::2/64")
	iface, err := Open(Config{Name: "p2ptun0", MTU: 1400, Prefixes: want})
	must(t, err)
	defer iface.Close()

	link, err := netlink.LinkByName("p2ptun0")
	must(t, err)
	attrs := link.Attrs()
	if attrs.MTU != 1400 || attrs.Flags&net.FlagUp == 0 {
		t.Errorf("MTU %d, flags %v; want 1400, up", attrs.MTU, attrs.Flags)
	}
	if iface.Name() != "p2ptun0" || iface.MTU() != 1400 || iface.IPv4Only() {
		t.Errorf("name %q, MTU %d, IPv4 only %v", iface.Name(), iface.MTU(), iface.IPv4Only())
	}
	if got := addrsOf(t, link); !slices.Equal(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
	for _, dst := range []string{"10.77.200.9", "fd77::9"} {
		if got := routedTo(dst); got != attrs.Index {
			t.Errorf("%s goes to interface %d, want %d", dst, got, attrs.Index)
		}
	}

	for range 2 {
		must(t, iface.Close())
	}
	if linkIndex("p2ptun0") != 0 {
		t.Error("the interface outlived Close")
	}
	for _, dst := range []string{"10.77.200.9", "fd77::9"} {
		if got := routedTo(dst); got != 0 {
			t.Errorf("%s still goes to interface %d", dst, got)
		}
	}
}

// What the kernel sends to the network comes out of the device, and WireGuard
// is never told that the interface is down.
func TestDevice(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	iface, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16")})
	must(t, err)
	defer iface.Close()
	dev := iface.Device()
	if got := <-dev.Events(); got != wgtun.EventUp {
		t.Errorf("first event %v, want %v", got, wgtun.EventUp)
	}
	if mtu, err := dev.MTU(); mtu != 1 || err != nil {
		t.Errorf("MTU %d, %v; want 1, which keeps WireGuard from padding", mtu, err)
	}
	if dev.BatchSize() == 1 {
		t.Error("the device does not read and write in batches")
	}

	conn, err := net.Dial("udp", "10.77.0.9:9")
	must(t, err)
	defer conn.Close()
	payload := []byte("to the other side")
	_, err = conn.Write(payload)
	must(t, err)

	bufs, sizes := make([][]byte, dev.BatchSize()), make([]int, dev.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	for { // the kernel may send packets of its own first
		n, err := dev.Read(bufs, sizes, 0)
		must(t, err)
		for i := range n {
			if got := bytes.TrimRight(bufs[i][:sizes[i]], "\x00"); bytes.HasSuffix(got, payload) {
				if sizes[i]%padTo != 0 {
					t.Errorf("%d bytes, not padded to a multiple of %d", sizes[i], padTo)
				}
				return
			}
		}
	}
}

func TestOpenUndoesFailure(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	checkLeaks(t)
	_, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16", "10.77.0.2/16")})
	if !errors.Is(err, unix.EEXIST) {
		t.Errorf("error %v, want %v", err, unix.EEXIST)
	}
	if linkIndex("p2ptun0") != 0 {
		t.Error("the interface is still there")
	}
}

func TestOpenRefusesConflict(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "eth0", "10.77.3.1/24")
	_, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16")})
	wantHint(t, err, "10.77.3.0/24, which is on interface eth0", "disconnect eth0")
	if linkIndex("p2ptun0") != 0 {
		t.Error("an interface was made nevertheless")
	}
}

// switchOffIPv6 does so for the interfaces to come of the test's namespace.
func switchOffIPv6(t *testing.T) {
	t.Helper()
	const sysctl = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
	if err := os.WriteFile(sysctl, []byte("1"), 0); err != nil {
		t.Skipf("cannot switch off IPv6: %v", err)
	}
}

func TestOpenIPv6Off(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	switchOffIPv6(t)
	iface, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("fd77::2/64", "10.77.0.2/16")})
	must(t, err)
	defer iface.Close()
	link, err := netlink.LinkByName("p2ptun0")
	must(t, err)
	if got, want := addrsOf(t, link), prefixes("10.77.0.2/16"); !slices.Equal(got, want) || !iface.IPv4Only() {
		t.Errorf("addresses %v, IPv4 only %v; want %v, true", got, iface.IPv4Only(), want)
	}

	_, err = Open(Config{Name: "p2ptun1", Prefixes: prefixes("fd77::2/64")})
	wantHint(t, err, "IPv6 is switched off", "disable_ipv6=0")
	if linkIndex("p2ptun1") != 0 {
		t.Error("the interface without an address is still there")
	}
}

func TestOpenWithoutPrivileges(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	// Capabilities belong to the thread, which ends with the test.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	must(t, unix.Capset(&header, &none[0]))
	_, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16")})
	wantHint(t, err, "p2ptun0", "CAP_NET_ADMIN")
}

func TestExplain(t *testing.T) {
	tests := []struct {
		err  error
		hint string
	}{
		{unix.ENOENT, "modprobe tun"},
		{unix.ENODEV, "CONFIG_TUN"},
		{unix.EPERM, "CAP_NET_ADMIN"},
		{unix.EACCES, "run as root"},
	}
	for _, tt := range tests {
		err := explain(&os.PathError{Op: "open", Path: cloneDevice, Err: tt.err})
		wantHint(t, err, "open /dev/net/tun: "+tt.err.Error(), tt.hint)
		if !errors.Is(err, tt.err) {
			t.Errorf("%v does not wrap %v", err, tt.err)
		}
	}
	if err := explain(unix.EIO); err != unix.EIO {
		t.Errorf("got %v, want %v as it is", err, unix.EIO)
	}
}

// addrsOf returns the addresses of link, all of which must be usable at once.
func addrsOf(t *testing.T, link netlink.Link) []netip.Prefix {
	t.Helper()
	list, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	must(t, err)
	var got []netip.Prefix
	for _, a := range list {
		if a.Flags&unix.IFA_F_TENTATIVE != 0 {
			t.Errorf("%v is not usable yet", a)
		}
		addr, _ := netip.AddrFromSlice(a.IP)
		ones, _ := a.Mask.Size()
		got = append(got, netip.PrefixFrom(addr, ones))
	}
	return got
}

// routedTo returns the index of the interface that packets to addr leave by, or
// 0 where there is no route.
func routedTo(addr string) int {
	routes, err := netlink.RouteGet(net.ParseIP(addr))
	if err != nil || len(routes) == 0 {
		return 0
	}
	return routes[0].LinkIndex
}
