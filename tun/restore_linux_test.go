package tun

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// What others take away from the interface is put back while Watch runs, routes
// of members with their MTU included, and said once each time.
func TestRestore(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	checkLeaks(t)
	want := prefixes("10.77.0.2/16", "fd77::2/64")
	iface, err := Open(Config{Name: "p2ptun0", Prefixes: want})
	must(t, err)
	defer iface.Close()
	near, far := addrs("10.77.0.9", "fd77::9"), addrs("10.77.0.8", "fd77::8")
	must(t, iface.SetMTU(near, 1440))
	must(t, iface.SetMTU(far, 8000))
	must(t, iface.SetMTU(far, BaseMTU)) // needs no route
	link, err := netlink.LinkByName("p2ptun0")
	must(t, err)
	log := watchOwn(t, iface)

	complete := func() string {
		if got := addrsOf(t, link); !slices.Equal(got, want) {
			return fmt.Sprintf("addresses %v, want %v", got, want)
		}
		for i, a := range slices.Concat(near, far) {
			if routedTo(a.String()) != iface.index {
				return fmt.Sprintf("%s is not routed to the interface", a)
			}
			if mtu := []int{1440, 1440, BaseMTU, BaseMTU}[i]; mtuTo(t, a) != mtu {
				return fmt.Sprintf("MTU %d to %s, want %d", mtuTo(t, a), a, mtu)
			}
		}
		return ""
	}
	flush := func(family int) {
		list, err := netlink.AddrList(link, family)
		must(t, err)
		for _, a := range list {
			must(t, netlink.AddrDel(link, &a))
		}
	}
	said := 0
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"down and up", func() { must(t, netlink.LinkSetDown(link)); must(t, netlink.LinkSetUp(link)) }},
		{"IPv4 addresses flushed", func() { flush(netlink.FAMILY_V4) }},
		{"IPv6 addresses flushed", func() { flush(netlink.FAMILY_V6) }},
		{"routes flushed", func() {
			routes, err := netlink.RouteList(link, netlink.FAMILY_ALL)
			must(t, err)
			for _, r := range routes {
				if r.Protocol == routeProtocol {
					must(t, netlink.RouteDel(&r))
				}
			}
		}},
		{"a member's route removed", func() {
			must(t, netlink.RouteDel(iface.route(netip.PrefixFrom(near[0], 32), want[0].Addr(), 1440)))
		}},
	} {
		step.do()
		eventually(t, step.name, complete)
		said++ // one step is one burst
		eventually(t, step.name, func() string {
			if got := log.count("put back"); got != said {
				return fmt.Sprintf("said %d times, want %d", got, said)
			}
			return ""
		})
	}
	if restored, err := iface.Restore(); restored != 0 || err != nil {
		t.Errorf("restored %d, %v, where nothing is missing", restored, err)
	}
}

// Of IPv4 alone the kernel does not tell what goes with an interface that is down.
func TestRestoreIPv4(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	switchOffIPv6(t)
	iface, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16")})
	must(t, err)
	defer iface.Close()
	link, err := netlink.LinkByName("p2ptun0")
	must(t, err)
	watchOwn(t, iface)
	must(t, netlink.LinkSetDown(link))
	must(t, netlink.LinkSetUp(link))
	eventually(t, "down and up", func() string {
		if routedTo("10.77.0.9") != iface.index {
			return "10.77.0.9 is not routed to the interface"
		}
		return ""
	})
}

// Who sets the interface down wants it down.
func TestRestoreLeavesDownWhatIsDown(t *testing.T) {
	needTUN(t)
	enterNamespace(t)
	iface, err := Open(Config{Name: "p2ptun0", Prefixes: prefixes("10.77.0.2/16", "fd77::2/64")})
	must(t, err)
	defer iface.Close()
	link, err := netlink.LinkByName("p2ptun0")
	must(t, err)
	must(t, netlink.LinkSetDown(link))
	if restored, err := iface.Restore(); restored != 0 || err != nil {
		t.Errorf("restored %d, %v", restored, err)
	}
	link, err = netlink.LinkByName("p2ptun0")
	must(t, err)
	if link.Attrs().RawFlags&unix.IFF_UP != 0 {
		t.Error("the interface is up")
	}
	// What is learned meanwhile holds when it is up again.
	if err := iface.SetMTU(addrs("10.77.0.9"), 1440); err == nil {
		t.Error("a route was added to an interface that is down")
	}
	must(t, netlink.LinkSetUp(link))
	_, err = iface.Restore()
	must(t, err)
	if got := mtuTo(t, netip.MustParseAddr("10.77.0.9")); got != 1440 {
		t.Errorf("MTU %d, want 1440", got)
	}
}

// watchOwn runs Watch with an interface in the test's namespace, until it ends.
func watchOwn(t *testing.T, own *Interface) *lines {
	t.Helper()
	ns, err := netns.Get()
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	log, ready, ended := &lines{}, make(chan struct{}), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			ended <- err
			return
		}
		var once sync.Once
		ended <- Watch(ctx, slog.New(slog.NewTextHandler(log, nil)), own, func([]netip.Addr, string) {
			once.Do(func() { close(ready) })
		})
	}()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Watch: %v", err)
		}
		ns.Close()
	})
	return log
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// eventually waits until nothing is missing.
func eventually(t *testing.T, when string, missing func() string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		what := missing()
		if what == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %s", when, what)
		}
	}
}
