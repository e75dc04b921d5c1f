package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/vishvananda/netlink"
)

// silenceGoal is how long nothing may arrive after a change that leaves a way.
const silenceGoal = time.Second

// TestNetworkChanges: what changes under a machine is seen by the machine itself.
// Data stops for a moment, and no TCP connection breaks.
//
//	               ┌─ home ── eth0 ─┐
//	b ─ NAT ─ core ┤                a
//	               └─ phone ─ eth1 ─┘
func TestNetworkChanges(t *testing.T) {
	s := newSetup(t)
	slow := natlab.Through(natlab.Link{Delay: 20 * time.Millisecond})
	nat := func(name string) *natlab.NAT { return natlab.Must(s.rig.Lab.NAT(name, natlab.PortRestricted, slow)) }
	host := natlab.Must(nat("home").Host("a"))
	second := natlab.Must(host.AddUplink(nat("phone")))
	a, b := s.rig.Node(host), s.rig.Node(natlab.Must(nat("b-home").Host("b")))
	s.meet(a, b)
	s.survive(a, b,
		change{"default route moved", func() error { return host.DefaultVia(second) }},
		change{"the first is preferred", func() error { return host.Prefer(host.FirstUplink()) }},
		change{"address changed", host.Renumber},
		change{"cable pulled for 5 s", s.pull(host)},
	)
}

// TestNetworkChangesOnLAN is the same for two machines on one LAN, and for IPv6:
// the router's prefix is another one (RFC 4192).
func TestNetworkChangesOnLAN(t *testing.T) {
	for _, six := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 %v", six), func(t *testing.T) {
			s := newSetup(t)
			hostA, hostB := onLAN(natlab.Link{Delay: 20 * time.Millisecond}, six)(s)
			a, b := s.rig.Node(hostA), s.rig.Node(hostB)
			s.meet(a, b)
			changes := []change{{"address changed", hostA.Renumber}}
			if six {
				changes = []change{
					{"another prefix", func() error {
						return errors.Join(
							hostA.AddIPv6(netip.MustParsePrefix("fd02::1/64")), hostB.AddIPv6(netip.MustParsePrefix("fd02::2/64")),
							lifetime(hostA, "fd01::1/64", 0, 3600), lifetime(hostB, "fd01::2/64", 0, 3600))
					}},
					{"the old one gone", func() error {
						return errors.Join(lifetime(hostA, "fd01::1/64", 0, 0), lifetime(hostB, "fd01::2/64", 0, 0))
					}},
				}
			}
			s.survive(a, b, changes...)
			p, err := a.Peer(s.ctx, b)
			if err != nil {
				t.Fatal(err)
			}
			if at := netip.MustParseAddrPort(p.Remote.Address); six && at.Addr() != netip.MustParseAddr("fd02::2") {
				t.Errorf("b is at %v, want the new prefix", at)
			}
		})
	}
}

// lifetime changes for how long an address may be used, in seconds; no lifetime
// at all takes it away.
func lifetime(h *natlab.Host, addr string, preferred, valid int) error {
	p := netip.MustParsePrefix(addr)
	return h.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		a := &netlink.Addr{
			IPNet:       &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)},
			PreferedLft: preferred, ValidLft: valid,
		}
		if valid == 0 {
			return netlink.AddrDel(link, a)
		}
		return netlink.AddrReplace(link, a)
	})
}

// pull returns a change that cuts a host off for a while. Nothing is to be had
// meanwhile.
func (s *setup) pull(h *natlab.Host) func() error {
	return func() error {
		if err := h.Unplug(); err != nil {
			return err
		}
		select {
		case <-time.After(5 * time.Second):
		case <-s.ctx.Done():
		}
		return h.Plug()
	}
}

// meet has two machines make a network, and waits until they are connected
// directly.
func (s *setup) meet(a, b *Node) {
	s.t.Helper()
	if _, err := b.Up(s.ctx, s.create(a)); err != nil {
		s.t.Fatal(err)
	}
	s.settle(a, b)
}

func (s *setup) settle(a, b *Node) {
	s.t.Helper()
	s.reach(a, address(1))
	for _, err := range []error{
		s.waitPath(a, b, peer.PathDirect, time.Now().Add(10*time.Second)), s.waitNominated(a, b), s.waitNominated(b, a),
	} {
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// change is one that a network can undergo.
type change struct {
	name string
	do   func() error
}

// survive has changes happen under traffic in both directions, one after the
// other.
func (s *setup) survive(a, b *Node, changes ...change) {
	s.t.Helper()
	for i, c := range changes {
		if i > 0 {
			s.settle(a, b)
		}
		s.surviveOne(a, b, c)
	}
}

func (s *setup) surviveOne(a, b *Node, c change) {
	s.t.Helper()
	stream, err := a.StartStream(s.ctx, b, address(1), 1<<20)
	if err != nil {
		s.t.Fatal(err)
	}
	out, back := s.meter(a, b, address(1)), s.meter(b, a, address(0))
	out.await(s, 10)
	back.await(s, 10)
	start := time.Now()
	if err := c.do(); err != nil {
		s.t.Fatal(err)
	}
	if took := time.Since(start); took > silenceGoal { // the network was away
		out.again()
		back.again()
	}
	time.Sleep(3 * silenceGoal / 2) // of which the longest silence is sought
	for name, m := range map[string]*meter{"from a": out, "from b": back} {
		longest := m.end()
		s.t.Logf("%s: silence %s: %v", c.name, name, longest.Round(time.Millisecond))
		if longest > silenceGoal {
			s.t.Errorf("%s: nothing came %s for %v, want %v at most", c.name, name, longest, silenceGoal)
		}
	}
	if err := stream.End(); err != nil {
		s.t.Errorf("%s: %v", c.name, err)
	}
}

// meter sends 50 datagrams a second one way, and notes when they arrive.
type meter struct {
	in, out *net.UDPConn
	done    sync.WaitGroup

	mu      sync.Mutex // guards all below
	count   int
	last    time.Time
	longest time.Duration
}

func (s *setup) meter(from, to *Node, addr netip.Addr) *meter {
	s.t.Helper()
	in, err := to.Host.ListenUDP(netip.AddrPortFrom(addr, 0))
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := from.Host.ListenUDP(netip.AddrPort{})
	if err != nil {
		s.t.Fatal(err)
	}
	m := &meter{in: in, out: out}
	target := in.LocalAddr().(*net.UDPAddr).AddrPort()
	m.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := out.WriteToUDPAddrPort([]byte("still there"), target); isClosed(err) {
				return
			}
		}
	})
	m.done.Go(func() {
		b := make([]byte, 64)
		for {
			if _, err := in.Read(b); err != nil {
				return
			}
			m.arrived()
		}
	})
	return m
}

func (m *meter) arrived() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.count++; m.count > 1 {
		m.longest = max(m.longest, now.Sub(m.last))
	}
	m.last = now
}

// again forgets the silence so far.
func (m *meter) again() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.longest = time.Now(), 0
}

// await waits until so many more have arrived.
func (m *meter) await(s *setup, more int) {
	s.t.Helper()
	arrived := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.count
	}
	for want := arrived() + more; arrived() < want; time.Sleep(time.Millisecond) {
		if s.ctx.Err() != nil {
			s.t.Fatal("nothing arrives")
		}
	}
}

// end ends the traffic and returns the longest silence, the present one included.
func (m *meter) end() time.Duration {
	m.out.Close()
	m.in.Close()
	m.done.Wait()
	return max(m.longest, time.Since(m.last))
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
