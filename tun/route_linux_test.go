package tun

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

func TestSetMTU(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	iface, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16", "fd77::2/64")})
	must(t, err)
	defer iface.Close()
	peer := addrs("10.77.0.9", "fd77::9")
	check := func(when string, want int) {
		t.Helper()
		for _, a := range peer {
			if got := mtuTo(t, a); got != want {
				t.Errorf("%s: MTU %d to %s, want %d", when, got, a, want)
			}
		}
		for _, a := range addrs("10.77.0.8", "fd77::8") {
			if got := mtuTo(t, a); got != BaseMTU {
				t.Errorf("%s: MTU %d to another, %s; want %d", when, got, a, BaseMTU)
			}
		}
	}
	check("at first", 1280)
	for _, mtu := range []int{1440, 1440, 8940, 1220, 1280, 1280, 516} {
		must(t, iface.SetMTU(peer, mtu))
		check("set", mtu)
	}
	must(t, iface.SetMTU(peer, 65535))
	check("more than the interface's", DefaultMTU)
}

// A record may name any address: only the network's are routed to the interface.
func TestSetMTUOfForeignAddress(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	iface, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16", "fd77::2/64")})
	must(t, err)
	defer iface.Close()
	must(t, iface.SetMTU(addrs("192.0.2.1", "2001:db8::1", "10.77.0.2", "fd77::2"), 1440))
	for _, a := range []string{"192.0.2.1", "2001:db8::1"} {
		if routedTo(a) != 0 {
			t.Errorf("%s is routed to the interface", a)
		}
	}
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	for _, a := range []string{"10.77.0.2", "fd77::2"} {
		// The kernel makes the route to an own IPv6 address in its own time.
		for end := time.Now().Add(time.Second); routedTo(a) != lo.Attrs().Index; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("own address %s is routed away", a)
			}
		}
	}
}

// A connection that is open follows the MTU of its path, up as well as down,
// whatever it was when the connection began. Below 1280 IPv6 does, too.
func TestConnectionFollowsMTU(t *testing.T) {
	needTUN(t)
	checkLeaks(t)
	for _, addr := range []string{"10.77.0.%d/16", "fd77::%d/64"} {
		var far *Interface
		var listener net.Listener
		inNamespace(t, func() {
			far = openNode(t, addr, 9)
			var err error
			listener, err = net.Listen("tcp", netip.AddrPortFrom(far.prefixes[0].Addr(), 0).String())
			must(t, err)
		})
		defer far.Close()
		defer listener.Close()
		enterNamespace(t)
		near := openNode(t, addr, 2)
		defer near.Close()
		w := &wire{}
		go w.carry(near.Device(), far.Device())
		go w.carry(far.Device(), near.Device())

		conn, err := net.Dial("tcp", listener.Addr().String())
		must(t, err)
		defer conn.Close()
		to, err := listener.Accept()
		must(t, err)
		defer to.Close()
		pass := func() {
			const size = 200 << 10
			go conn.Write(make([]byte, size))
			_, err := io.CopyN(io.Discard, to, size)
			must(t, err)
		}
		for _, mtu := range []int{1280, 1440, 8940, 1220, 1280} {
			must(t, near.SetMTU([]netip.Addr{far.prefixes[0].Addr()}, mtu))
			pass() // what was in the queue is of the old size
			w.largest.Store(0)
			pass()
			// Options may leave a few bytes of a segment unused.
			if got := int(w.largest.Load()); got > mtu || got < mtu-40 {
				t.Errorf(addr+": packets of up to %d bytes, want %d", 9, got, mtu)
			}
		}
	}
}

// inNamespace runs f in a namespace of its own.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		enterNamespace(t)
		f()
	}()
	<-done
}

func openNode(t *testing.T, addr string, host int) *Interface {
	t.Helper()
	i, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes(fmt.Sprintf(addr, host))})
	must(t, err)
	return i
}

// wire is a tunnel without WireGuard.
type wire struct{ largest atomic.Int64 }

// carry moves packets until a device is closed.
func (w *wire) carry(from, to wgtun.Device) {
	const offset = 16
	bufs, sizes := make([][]byte, from.BatchSize()), make([]int, from.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 65535)
	}
	for {
		n, err := from.Read(bufs, sizes, offset)
		if err != nil {
			return
		}
		for i := range n {
			packet := bufs[i][:offset+sizes[i]]
			w.largest.Store(max(w.largest.Load(), int64(unpadded(packet[offset:]))))
			to.Write([][]byte{packet}, offset)
		}
	}
}

// unpadded is the length that the IP header tells.
func unpadded(b []byte) int {
	if b[0]>>4 == 4 {
		return int(binary.BigEndian.Uint16(b[2:]))
	}
	return 40 + int(binary.BigEndian.Uint16(b[4:]))
}

func mtuTo(t *testing.T, a netip.Addr) int {
	t.Helper()
	c, err := net.Dial("udp", netip.AddrPortFrom(a, 9).String())
	must(t, err)
	defer c.Close()
	raw, err := c.(*net.UDPConn).SyscallConn()
	must(t, err)
	var mtu int
	raw.Control(func(fd uintptr) {
		if a.Is4() {
			mtu, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU)
		} else {
			mtu, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU)
		}
	})
	must(t, err)
	return mtu
}
