package e2e

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
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
	first := host.FirstUplink()
	a, b := s.rig.Node(host), s.rig.Node(natlab.Must(nat("b-home").Host("b")))
	s.meet(a, b)
	for _, c := range []change{
		{"default route moved", func() error { return host.DefaultVia(second) }},
		{"and back", func() error { return host.DefaultVia(first) }},
		{"another is preferred", func() error { return host.Prefer(second) }},
		{"and the first again", func() error { return host.Prefer(first) }},
		{"address changed", host.Renumber},
	} {
		s.survive(a, b, c)
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

// survive has a change happen under traffic in both directions.
func (s *setup) survive(a, b *Node, c change) {
	s.t.Helper()
	stream, err := a.StartStream(s.ctx, b, address(1), 1<<20)
	if err != nil {
		s.t.Fatal(err)
	}
	out, back := s.meter(a, b, address(1)), s.meter(b, a, address(0))
	out.await(s, 10)
	back.await(s, 10)
	if err := c.do(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(2 * silenceGoal) // of which the longest silence is sought
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
	s.settle(a, b)
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
