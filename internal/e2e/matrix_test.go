package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
)

// The matrix: every pair of places that a machine may stand in, in both orders
// of start, and what carries their packets.
//
//	direct:  any two of public, full, address, port
//	         symmetric with public, full or address
//	         port behind a port-restricted CGNAT with port
//	relayed: symmetric with port, symmetric with symmetric,
//	         port behind a symmetric CGNAT with port
//
// Two nodes on one LAN have a test of their own.
func TestMatrix(t *testing.T) {
	open := []string{"public", "full", "address", "port"}
	for _, a := range open {
		for _, b := range open {
			testPair(t, a, b, peer.PathDirect)
		}
	}
	for _, a := range open[:3] {
		testPair(t, "symmetric", a, peer.PathDirect)
		testPair(t, a, "symmetric", peer.PathDirect)
	}
	testPair(t, "cgnat-port", "port", peer.PathDirect)
	testPair(t, "port", "cgnat-port", peer.PathDirect)
	for _, p := range [][2]string{
		{"symmetric", "port"}, {"port", "symmetric"}, {"symmetric", "symmetric"},
		{"cgnat-symmetric", "port"}, {"port", "cgnat-symmetric"},
	} {
		testPair(t, p[0], p[1], peer.PathRelayed)
	}
}

func testPair(t *testing.T, first, second string, want peer.PathKind) {
	t.Run(first+"-"+second, func(t *testing.T) {
		s := newSetup(t)
		a, b := s.rig.Node(s.place(first, "a")), s.rig.Node(s.place(second, "b"))
		s.connect(a, b, want)
		if want == peer.PathRelayed {
			s.waitOneRelay(a, b)
			s.waitOneRelay(b, a)
		}
		s.waitWhy(a, b, want, first, second)
		s.waitWhy(b, a, want, second, first)
	})
}

// waitWhy waits until a node knows how the NATs map, and says what keeps it from a
// direct path.
func (s *setup) waitWhy(from, to *Node, path peer.PathKind, here, there string) {
	s.t.Helper()
	why := ""
	switch {
	case path == peer.PathDirect:
	case isSymmetric(here) && isSymmetric(there):
		why = "relayed: both NATs map per destination (symmetric)"
	case isSymmetric(here):
		why = "relayed: this machine's NAT maps per destination (symmetric); no direct check has been answered"
	default:
		why = "relayed: " + to.Name + "'s NAT maps per destination (symmetric); no direct check has been answered"
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		st, err := from.Status(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		p := st.Peers[0]
		if st.Self.NAT.Mapping == mappingAt(here) && p.NAT.Mapping == mappingAt(there) && p.Why == why {
			return
		}
		if time.Now().After(deadline) {
			s.t.Errorf("%s behind %q sees %s behind %q: why %q, want %q", from.Name, st.Self.NAT.Mapping, to.Name, p.NAT.Mapping, p.Why, why)
			return
		}
	}
}

func isSymmetric(place string) bool { return mappingAt(place).PerDestination() }

// mappingAt is that of the strictest NAT of a place.
func mappingAt(place string) peer.Mapping {
	switch {
	case place == "public":
		return peer.MappingNone
	case strings.HasSuffix(place, "symmetric"):
		return peer.MappingAddressAndPortDependent
	}
	return peer.MappingEndpointIndependent
}

// waitOneRelay waits for a path over one relay: one end's, where the other's NAT
// can be reached from it.
func (s *setup) waitOneRelay(from, to *Node) {
	s.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		p, err := from.Peer(s.ctx, to)
		if err == nil && p.State == peer.Connected && (p.Local.Type == peer.Relayed) != (p.Remote.Type == peer.Relayed) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Errorf("%s reaches %s by %+v, %v: want one relay", from.Name, to.Name, p, err)
			return
		}
	}
}

func TestLAN(t *testing.T) {
	for name, hairpin := range map[string]bool{"hairpin": true, "no hairpin": false} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			kind := natlab.PortRestricted
			kind.Hairpin = hairpin
			home := natlab.Must(s.rig.Lab.NAT("home", kind))
			a, b := s.rig.Node(natlab.Must(home.Host("a"))), s.rig.Node(natlab.Must(home.Host("b")))
			s.connect(a, b, peer.PathDirect)
			p, err := a.Peer(s.ctx, b)
			if err != nil {
				t.Fatal(err)
			}
			if got := netip.MustParseAddrPort(p.Remote.Address).Addr(); got != b.Host.Addr() || p.Remote.Type != peer.Host {
				t.Errorf("a reaches b at %v (%s), want its LAN address %v", got, p.Remote.Type, b.Host.Addr())
			}
			text := s.must(a, "status", b.Name)
			t.Log(text)
			for _, want := range []string{"\n*+  succeeded ", " → " + p.Remote.Address + " host\n", "  path: none → ", "  nominated: direct at ", "  handshake"} {
				if !strings.Contains(text, want) {
					t.Errorf("status of b does not say %q:\n%s", want, text)
				}
			}
		})
	}
}

// The goals: the second node's first ping, join included, and the final path
// after it.

const (
	firstPingGoal = time.Second
	directGoal    = time.Second
	fileSize      = 8 << 20
)

// connect brings up a, then b with an invite, and checks all that two nodes
// have to do for each other.
func (s *setup) connect(a, b *Node, want peer.PathKind) {
	t, ctx := s.t, s.ctx
	t.Helper()
	invite, err := a.Up(ctx, "--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String())
	if err != nil {
		t.Fatal(err)
	}
	addrA, addrB := address(0), address(1)

	start := time.Now()
	joined := make(chan error, 1)
	go func() {
		_, err := b.Up(ctx, invite)
		joined <- err
	}()
	if err := a.FirstPing(ctx, addrB); err != nil {
		t.Fatal(err)
	}
	first := time.Since(start)
	if err := s.waitPath(a, b, want, time.Now().Add(directGoal)); err != nil {
		t.Error(err)
	}
	if err := s.waitPath(b, a, want, time.Now().Add(directGoal)); err != nil {
		t.Error(err)
	}
	settled := time.Since(start)
	if err := <-joined; err != nil {
		t.Fatal(err)
	}
	t.Logf("first ping after %v, %s both ways after %v", first.Round(time.Millisecond), want, settled.Round(time.Millisecond))
	if first > firstPingGoal {
		t.Errorf("first ping after %v, want at most %v", first, firstPingGoal)
	}
	s.exchange(a, b, addrA, addrB)
}

// waitPath asks until the node reports the path, or the deadline has passed.
func (s *setup) waitPath(from, to *Node, want peer.PathKind, deadline time.Time) error {
	for {
		p, err := from.Peer(s.ctx, to)
		if err == nil && p.State == peer.Connected && p.Path == want {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%s says %s is %s, path %s, want %s", from.Name, to.Name, p.State, p.Path, want)
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// exchange pings and copies a file both ways, over IPv4 and IPv6.
func (s *setup) exchange(a, b *Node, addrA, addrB netip.Addr) {
	s.t.Helper()
	sa, err := a.Status(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	six := [2]netip.Addr{sa.Self.Addresses[1], sa.Peers[0].Addresses[1]}
	for _, x := range []struct {
		from, to *Node
		addrs    [2]netip.Addr
	}{{a, b, [2]netip.Addr{addrB, six[1]}}, {b, a, [2]netip.Addr{addrA, six[0]}}} {
		for _, addr := range x.addrs {
			if err := x.from.FirstPing(s.ctx, addr); err != nil {
				s.t.Error(err)
				continue
			}
			f, err := x.from.Send(s.ctx, x.to, addr, fileSize)
			if err != nil {
				s.t.Error(err)
				continue
			}
			s.t.Logf("%s to %s at %v: %d MiB in %v", x.from.Name, x.to.Name, addr, f.Bytes>>20, f.Took.Round(time.Millisecond))
		}
		if out, err := x.from.Run(s.ctx, "ping", x.to.Name, "--count", "1"); err != nil {
			s.t.Error(err)
		} else {
			s.t.Log(out)
		}
	}
}
