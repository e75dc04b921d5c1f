package e2e

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mtuGoal is how long a peer's MTU may take to be proved after its path, and to be
// lowered after a change of it: a second until it is looked at, and three
// probes of up to 300 ms.
const mtuGoal = 3 * time.Second

// The tunnel's packets become as long as WireGuard, and a relay, leave room for,
// and the connections inside use it.
func TestMTU(t *testing.T) {
	tests := []struct {
		name  string
		place func(s *setup) (a, b *natlab.Host)
		path  peer.PathKind
		mtu   int
	}{
		{"IPv4", public(natlab.Link{}), peer.PathDirect, 1440},
		{"IPv6", onLAN6(natlab.Link{}), peer.PathDirect, 1420},
		{"relayed", func(s *setup) (a, b *natlab.Host) {
			return s.place("symmetric", "a"), s.place("symmetric", "b")
		}, peer.PathRelayed, 1436},
		{"jumbo", onLAN(natlab.Link{MTU: 9000}, false), peer.PathDirect, 8940},
		{"narrow", public(natlab.Link{MTU: 1280}), peer.PathDirect, 1220},
		{"narrow, black hole", onLAN(natlab.Link{Swallow: 1280}, false), peer.PathDirect, 1220},
		{"narrow, black hole, IPv6", onLAN6(natlab.Link{Swallow: 1280}), peer.PathDirect, 1200},
		{"PPPoE", public(natlab.Link{MTU: 1492}), peer.PathDirect, 1432},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSetup6(t)
			hostA, hostB := tt.place(s)
			a, b := s.rig.Node(hostA), s.rig.Node(hostB)
			s.connect(a, b, tt.path)
			s.waitMTU(a, b, tt.mtu)
			s.waitMTU(b, a, tt.mtu)
			for _, x := range [][2]*Node{{a, b}, {b, a}} {
				p, err := x[0].Peer(s.ctx, x[1])
				if err != nil {
					t.Fatal(err)
				}
				for _, addr := range p.Addresses {
					s.checkSegments(x[0], x[1], addr, tt.mtu)
				}
			}
		})
	}
}

// A path that narrows in the middle of a transfer, and tells nobody, costs the
// transfer a pause.
func TestBlackHole(t *testing.T) {
	s := newSetup(t)
	hostA, hostB := onLAN(natlab.Link{Delay: time.Millisecond, Rate: 100e6, Swallow: 1500}, false)(s)
	a, b := s.rig.Node(hostA), s.rig.Node(hostB)
	s.connect(a, b, peer.PathDirect)
	s.waitMTU(a, b, 1440)
	before := s.sentTo(a, b)
	sent := make(chan error, 1)
	go func() {
		_, err := a.Send(s.ctx, b, address(1), 32<<20)
		sent <- err
	}()
	for s.sentTo(a, b) < before+1<<20 {
		if s.ctx.Err() != nil {
			t.Fatal("nothing was sent")
		}
	}
	if err := hostB.Swallow(1300); err != nil {
		t.Fatal(err)
	}
	s.waitMTU(a, b, 1220, 1240)
	if err := <-sent; err != nil {
		t.Error(err)
	}
	s.waitMTU(a, b, 1240)
}

// Another path is another search: nothing of the old one's size is kept.
func TestMTUOfNewPath(t *testing.T) {
	s := newSetup(t)
	hostB := natlab.Must(s.rig.Lab.PublicHost("b", natlab.Through(natlab.Link{Swallow: 1500})))
	a, b := s.rig.Node(s.place("public", "a")), s.rig.Node(hostB)
	s.connect(a, b, peer.PathDirect)
	s.waitMTU(a, b, 1440)
	if err := hostB.Swallow(1400); err != nil {
		t.Fatal(err)
	}
	if err := hostB.Renumber(); err != nil {
		t.Fatal(err)
	}
	for moved := false; !moved; {
		p, err := a.Peer(s.ctx, b)
		if s.ctx.Err() != nil {
			t.Fatalf("b is not found at %v: %+v, %v", hostB.Addr(), p, err)
		}
		moved = err == nil && strings.HasPrefix(p.Remote.Address, hostB.Addr().String())
	}
	s.waitMTU(a, b, 1340)
	s.waitMTU(b, a, 1340)
}

// public places both on the internet, the second behind a NAT with such a link.
func public(link natlab.Link) func(*setup) (a, b *natlab.Host) {
	return func(s *setup) (a, b *natlab.Host) {
		home := natlab.Must(s.rig.Lab.NAT("home", natlab.PortRestricted, natlab.Through(link)))
		return s.place("public", "a"), natlab.Must(home.Host("b"))
	}
}

// onLAN places both on one LAN, the second with such a link. With six they reach
// each other over IPv6 alone.
func onLAN(link natlab.Link, six bool) func(*setup) (a, b *natlab.Host) {
	return func(s *setup) (a, b *natlab.Host) {
		home := natlab.Must(s.rig.Lab.NAT("home", natlab.PortRestricted))
		near := natlab.Link{MTU: link.MTU}
		a = natlab.Must(home.Host("a", natlab.Through(near)))
		b = natlab.Must(home.Host("b", natlab.Through(link)))
		if six {
			s.joinIPv6(a, "fd01::1/64", b)
			s.joinIPv6(b, "fd01::2/64", a)
		}
		return a, b
	}
}

// onLAN6 places both on one LAN of IPv6 alone, the second with such a link.
func onLAN6(link natlab.Link) func(*setup) (a, b *natlab.Host) {
	return func(s *setup) (a, b *natlab.Host) {
		home := natlab.Must(s.rig.Lab.NAT("home", natlab.PortRestricted, natlab.OnlyIPv6()))
		return natlab.Must(home.Host("a")), natlab.Must(home.Host("b", natlab.Through(link)))
	}
}

// joinIPv6 gives h an IPv6 address, and takes the way to another's IPv4 address.
func (s *setup) joinIPv6(h *natlab.Host, addr string, other *natlab.Host) {
	s.t.Helper()
	err := h.AddIPv6(netip.MustParsePrefix(addr))
	if err == nil {
		err = h.Do(func() error {
			dst := &net.IPNet{IP: other.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}
			return netlink.RouteAdd(&netlink.Route{Dst: dst, Type: unix.RTN_UNREACHABLE})
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// waitMTU asks until the MTU is one of those wanted.
func (s *setup) waitMTU(from, to *Node, want ...int) {
	s.t.Helper()
	for start := time.Now(); ; {
		p, err := from.Peer(s.ctx, to)
		if err == nil && slices.Contains(want, p.MTU) {
			s.t.Logf("%s to %s at %s: MTU %d after %v", from.Name, to.Name, p.Remote.Address, p.MTU, time.Since(start).Round(time.Millisecond))
			return
		}
		if time.Since(start) > mtuGoal {
			s.t.Fatalf("%s to %s: %+v, %v; want MTU %v", from.Name, to.Name, p, err, want)
		}
	}
}

// sentTo is how much the tunnel has sent.
func (s *setup) sentTo(from, to *Node) uint64 {
	p, err := from.Peer(s.ctx, to)
	if err != nil {
		return 0
	}
	return p.TxBytes
}

// checkSegments looks whether a connection's segments fill the MTU.
func (s *setup) checkSegments(from, to *Node, addr netip.Addr, mtu int) {
	s.t.Helper()
	l, err := to.Host.ListenTCP(netip.AddrPortFrom(addr, 0))
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	conn, err := from.Host.DialTCP(s.ctx, l.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	var info *unix.TCPInfo
	raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err != nil {
		s.t.Fatal(err)
	}
	want := mtu - 20 - 20 - 12 // IP, TCP, its timestamps
	if addr.Is6() {
		want -= 20
	}
	if int(info.Snd_mss) != want {
		s.t.Errorf("%s to %s: segments of %d bytes, want %d", from.Name, addr, info.Snd_mss, want)
	}
}
