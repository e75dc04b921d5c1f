package tun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Watch sees what the kernel really says when addresses, links and default
// routes come and go.
func TestWatch(t *testing.T) {
	enterNamespace(t)
	checkLeaks(t)
	eth0 := addVeth(t, "eth0", "192.168.1.2/24")
	reports := startWatch(t)
	wantReport(t, "at once", reports, addrs("192.168.1.2"))

	second := interfaceAddr(netip.MustParsePrefix("2001:db8::2/64"))
	must(t, netlink.AddrAdd(eth0, second))
	wantReport(t, "address added", reports, addrs("192.168.1.2", "2001:db8::2"))
	must(t, netlink.AddrDel(eth0, second))
	wantReport(t, "address removed", reports, addrs("192.168.1.2"))

	for i := range 2 {
		gw := net.IPv4(192, 168, 1, byte(254-i))
		must(t, netlink.RouteReplace(&netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: ipNet("0.0.0.0/0"), Gw: gw}))
		wantReport(t, fmt.Sprintf("default route through %v", gw), reports, addrs("192.168.1.2"))
	}

	peer, err := netlink.LinkByName("eth0-peer")
	must(t, err)
	must(t, netlink.LinkSetDown(peer))
	wantReport(t, "cable pulled", reports, nil)
	must(t, netlink.LinkSetUp(peer))
	wantReport(t, "cable plugged in", reports, addrs("192.168.1.2"))
}

// startWatch runs Watch in the test's network namespace until the test ends.
func startWatch(t *testing.T) <-chan []netip.Addr {
	t.Helper()
	ns, err := netns.Get()
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	reports := make(chan []netip.Addr, 16)
	ended := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			ended <- err
			return
		}
		ended <- Watch(ctx, slog.New(slog.DiscardHandler), func(a []netip.Addr) { reports <- a })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Watch: %v", err)
		}
		ns.Close()
	})
	return reports
}

// wantReport waits for the report of want. One change of the kernel may be more
// than one report, as a link's address and its routes do not go together.
func wantReport(t *testing.T, when string, reports <-chan []netip.Addr, want []netip.Addr) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case got := <-reports:
			if slices.Equal(got, want) {
				return
			}
			t.Logf("%s: %v on the way to %v", when, got, want)
		case <-timeout:
			t.Fatalf("%s: no report of %v", when, want)
		}
	}
}

// An overflow of the socket is a change, not an end.
func TestSubscriptionOverflow(t *testing.T) {
	enterNamespace(t)
	eth0 := addVeth(t, "eth0")
	var subs [2]*subscription
	for i := range subs {
		src, err := subscribe()
		must(t, err)
		defer src.Close()
		subs[i] = src.(*subscription)
		must(t, subs[i].sock.SetReceiveBufferSize(1, false)) // the kernel's least
	}
	for i := range 64 {
		must(t, netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(fmt.Sprintf("192.168.%d.1/24", i))}))
	}
	if _, _, err := subs[0].sock.Receive(); !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("the socket says %v, want %v: no overflow to survive", err, unix.ENOBUFS)
	}
	// The overflow, and what was queued before it.
	for range 2 {
		must(t, subs[1].Receive())
	}
}
