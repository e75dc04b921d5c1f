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
	eth0, eth1 := addVeth(t, "eth0", "192.168.1.2/24"), addVeth(t, "eth1", "192.168.2.2/24")
	both := addrs("192.168.1.2", "192.168.2.2")
	reports := startWatch(t)
	wantReport(t, "at once", reports, report{both, ""})

	v6 := interfaceAddr(netip.MustParsePrefix("2001:db8::2/64"))
	must(t, netlink.AddrAdd(eth0, v6))
	wantReport(t, "address added", reports, report{append(slices.Clone(both), netip.MustParseAddr("2001:db8::2")), "addresses changed"})
	// The prefix is another: the new address has come before the old one goes.
	renewed := interfaceAddr(netip.MustParsePrefix("2001:db8:1::2/64"))
	must(t, netlink.AddrAdd(eth0, renewed))
	wantReport(t, "prefix added", reports, report{append(slices.Clone(both), addrs("2001:db8::2", "2001:db8:1::2")...), "addresses changed"})
	v6.PreferedLft, v6.ValidLft = 0, 3600
	must(t, netlink.AddrReplace(eth0, v6))
	wantReport(t, "prefix deprecated", reports, report{append(slices.Clone(both), netip.MustParseAddr("2001:db8:1::2")), "addresses changed"})
	must(t, netlink.AddrDel(eth0, renewed))
	wantReport(t, "address removed", reports, report{both, "addresses changed"})

	route := func(via netlink.Link, gw string, metric int) *netlink.Route {
		return &netlink.Route{LinkIndex: via.Attrs().Index, Dst: ipNet("0.0.0.0/0"), Gw: net.ParseIP(gw), Priority: metric}
	}
	must(t, netlink.RouteReplace(route(eth0, "192.168.1.254", 100)))
	wantReport(t, "default route", reports, report{both, "a default route has come"})
	must(t, netlink.RouteReplace(route(eth0, "192.168.1.253", 100)))
	wantReport(t, "other gateway", reports, report{both, "the default route has moved"})
	must(t, netlink.RouteAdd(route(eth1, "192.168.2.254", 200))) // of no use: it has to come first to be one
	must(t, netlink.RouteAdd(route(eth1, "192.168.2.253", 50)))
	wantReport(t, "better route", reports, report{both, "the default route has moved"})
	must(t, netlink.RouteDel(route(eth1, "192.168.2.253", 50)))
	wantReport(t, "the old route", reports, report{both, "the default route has moved"})

	peer, err := netlink.LinkByName("eth1-peer")
	must(t, err)
	must(t, netlink.LinkSetDown(peer))
	wantReport(t, "cable pulled", reports, report{both[:1], "addresses changed"})
	must(t, netlink.LinkSetUp(peer))
	wantReport(t, "cable plugged in", reports, report{both, "addresses changed"})
	must(t, netlink.LinkSetDown(eth0))
	wantReport(t, "link down", reports, report{both[1:], "the default route has moved"})
}

// startWatch runs Watch in the test's network namespace until the test ends.
func startWatch(t *testing.T) <-chan report {
	t.Helper()
	ns, err := netns.Get()
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	reports := make(chan report, 16)
	ended := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			ended <- err
			return
		}
		ended <- Watch(ctx, slog.New(slog.DiscardHandler), nil, func(a []netip.Addr, why string) { reports <- report{a, why} })
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

// wantReport waits for the next report.
func wantReport(t *testing.T, when string, reports <-chan report, want report) {
	t.Helper()
	select {
	case got := <-reports:
		if !slices.Equal(got.addrs, want.addrs) || got.why != want.why {
			t.Errorf("%s: reported %v, want %v", when, got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: no report of %v", when, want)
	}
}

// An overflow of the socket is a change, not an end.
func TestSubscriptionOverflow(t *testing.T) {
	enterNamespace(t)
	eth0 := addVeth(t, "eth0")
	var subs [2]*subscription
	for i := range subs {
		src, err := subscribe(0)
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
		_, err := subs[1].Receive()
		must(t, err)
	}
}

// How much a look costs: the internet's networks in the main table are not read.
func BenchmarkLook(b *testing.B) {
	for _, routes := range []int{0, 1000, 100_000} {
		b.Run(fmt.Sprintf("%d routes", routes), func(b *testing.B) {
			enterNamespace(b)
			var first netlink.Link
			for i := range 25 {
				veth := addVeth(b, fmt.Sprintf("eth%d", i), fmt.Sprintf("192.168.%d.2/24", i))
				if i == 0 {
					first = veth
				}
			}
			gw := net.IPv4(192, 168, 0, 1)
			must(b, netlink.RouteAdd(&netlink.Route{LinkIndex: first.Attrs().Index, Dst: ipNet("0.0.0.0/0"), Gw: gw}))
			for i := range routes {
				dst := &net.IPNet{IP: net.IPv4(20+byte(i>>16), byte(i>>8), byte(i), 0), Mask: net.CIDRMask(24, 32)}
				must(b, netlink.RouteAdd(&netlink.Route{LinkIndex: first.Attrs().Index, Dst: dst, Gw: gw}))
			}
			for b.Loop() {
				v, err := look()
				must(b, err)
				if len(v.addrs) != 25 || v.ways[0].link != first.Attrs().Index {
					b.Fatalf("saw %v", v)
				}
			}
		})
	}
}
