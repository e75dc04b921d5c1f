package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
)

// TestHubLoss: the hub introduces, it does not keep together. A direct tunnel
// loses nothing when the hub is killed and when it returns, and a third machine
// can join the returned one.
func TestHubLoss(t *testing.T) {
	s := newSetup(t)
	a, b, c := s.rig.Node(s.place("port", "a")), s.rig.Node(s.place("port", "b")), s.rig.Node(s.place("port", "c"))
	invite := s.create(a)
	if _, err := b.Up(s.ctx, invite); err != nil {
		t.Fatal(err)
	}
	addrB := address(1)
	if err := s.waitPath(a, b, peer.PathDirect, time.Now().Add(directGoal)); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- steady(s, a, addrB, 8*time.Second) }()

	s.hub.Signal(os.Kill)
	s.hub.Wait()
	if err := s.waitHub(a, false); err != nil {
		t.Fatal(err)
	}
	hub, err := s.rig.StartHub(s.ctx, s.hubHost)
	if err != nil {
		t.Fatal(err)
	}
	if hub.Link != s.hub.Link {
		t.Error("the hub has another link after kill -9")
	}
	for _, n := range []*Node{a, b} {
		if err := s.waitHub(n, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Up(s.ctx, s.invite(a)); err != nil {
		t.Fatal(err)
	}
	for _, to := range []*Node{a, b} {
		if err := s.waitPath(c, to, peer.PathDirect, time.Now().Add(3*time.Second)); err != nil {
			t.Error(err)
		}
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// maxLost pings in a row are half a second: a busy machine may lose one or two.
const maxLost = 5

// steady pings ten times a second and fails when maxLost in a row are lost.
func steady(s *setup, from *Node, to netip.Addr, d time.Duration) error {
	conn, err := from.pinger(to)
	if err != nil {
		return err
	}
	defer conn.Close()
	lost := 0
	for end := time.Now().Add(d); time.Now().Before(end); {
		next := time.Now().Add(100 * time.Millisecond)
		if err := request(conn, to, 1); err != nil {
			return err
		}
		if answered(conn, to, next) {
			lost = 0
		} else if lost++; lost == maxLost {
			return fmt.Errorf("%s: %d pings in a row lost", from.Name, lost)
		}
		if wait := time.Until(next); wait > 0 {
			select {
			case <-time.After(wait):
			case <-s.ctx.Done():
				return s.ctx.Err()
			}
		}
	}
	return nil
}

// waitHub waits until the node is, or is not, connected to the hub.
func (s *setup) waitHub(n *Node, want bool) error {
	for {
		st, err := n.Status(s.ctx)
		if err == nil && st.Hub.Connected == want {
			return nil
		}
		if s.ctx.Err() != nil {
			return fmt.Errorf("%s: hub connected: %v, want %v", n.Name, !want, want)
		}
	}
}

// TestHubUnreachable: said once; the machine goes on by itself when the hub
// comes.
func TestHubUnreachable(t *testing.T) {
	s := newSetup(t)
	s.hub.Signal(syscall.SIGTERM)
	if err := s.hub.Wait(); err != nil {
		t.Errorf("the hub ended with %v", err)
	}
	p, err := s.rig.Node(s.place("port", "a")).StartUp(s.ctx, "--new", "home", "--hub", s.hub.Link)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "no connection to the hub, trying again: cannot reach the hub at wss://"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.rig.StartHub(s.ctx, s.hubHost); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "connected to the hub"); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(p.Text(), "no connection to the hub"); n != 1 {
		t.Errorf("said %d times that the hub cannot be reached", n)
	}
}

// TestUndone: down takes everything back; so does the next up after a crash.
func TestUndone(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("port", "a"))
	s.create(a)
	if got := interfaces(t, a); !strings.Contains(got, "p2ptun0") {
		t.Fatalf("interfaces while up: %s", got)
	}
	if _, err := a.Run(s.ctx, "down"); err != nil {
		t.Fatal(err)
	}
	if got := interfaces(t, a); strings.Contains(got, "p2ptun0") {
		t.Errorf("interfaces after down: %s", got)
	}
	if _, err := os.Stat(a.socket()); err == nil {
		t.Error("the control socket is still there")
	}
	p, err := a.StartUp(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "p2ptun0 is up"); err != nil {
		t.Fatal(err)
	}
	p.Signal(os.Kill)
	p.Wait()
	if _, err := a.Up(s.ctx); err != nil {
		t.Errorf("up after a crash: %v", err)
	}
	if _, err := a.Run(s.ctx, "leave"); err != nil {
		t.Error(err)
	}
	_, err = a.Up(s.ctx)
	refused(t, err, "this machine is in no network yet")
}

func interfaces(t *testing.T, n *Node) string {
	t.Helper()
	var names []string
	err := n.Host.Do(func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			names = append(names, i.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// TestCollisions: what another node, program or network has already is refused
// with a clear line, and harms nothing.
func TestCollisions(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("public", "a"))
	invite := s.create(a)

	t.Run("state in use", func(t *testing.T) {
		p, err := a.StartUp(s.ctx, "--socket", a.socket()+"2", "--interface", "p2ptun1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Expect(s.ctx, "p2ptun: error: state directory "); err != nil {
			t.Error(err)
		}
		if code := exitCode(p.Wait()); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
	})
	t.Run("up again", func(t *testing.T) {
		if _, err := a.Up(s.ctx); err != nil {
			t.Error(err)
		}
	})
	t.Run("port in use", func(t *testing.T) {
		b := s.rig.Node(s.place("public", "b"))
		conn, err := b.Host.ListenUDP(netip.MustParseAddrPort("0.0.0.0:4711"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = b.Up(s.ctx, invite, "--port", "4711")
		refused(t, err, "udp port 4711 is in use")
	})
	t.Run("network in use", func(t *testing.T) {
		home := natlab.Must(s.rig.Lab.NAT("home", natlab.PortRestricted, natlab.LAN(netip.MustParsePrefix("10.77.3.0/24"))))
		c := s.rig.Node(natlab.Must(home.Host("c")))
		_, err := c.Up(s.ctx, s.invite(a))
		refused(t, err, "10.77.3.0/24")
	})
	if err := s.waitHub(a, true); err != nil {
		t.Error(err)
	}
}

// TestIPv4Only: where IPv6 is off the tunnel carries IPv4, and says so.
func TestIPv4Only(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("port", "a"))
	invite := s.create(a)
	home := natlab.Must(s.rig.Lab.NAT("home", natlab.PortRestricted))
	b := s.rig.Node(natlab.Must(home.Host("b", natlab.NoIPv6())))
	p, err := b.StartUp(s.ctx, invite)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "IPv6 is switched off on this machine"); err != nil {
		t.Error(err)
	}
	if err := b.FirstPing(s.ctx, address(0)); err != nil {
		t.Error(err)
	}
}

// TestRelayOnly: no address of the machine shows, and it works.
func TestRelayOnly(t *testing.T) {
	s := newSetup(t)
	a, b := s.rig.Node(s.place("public", "a")), s.rig.Node(s.place("public", "b"))
	invite := s.create(a)
	if _, err := b.Up(s.ctx, invite, "--relay-only"); err != nil {
		t.Fatal(err)
	}
	if err := a.FirstPing(s.ctx, address(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.waitPath(a, b, peer.PathRelayed, time.Now().Add(directGoal)); err != nil {
		t.Error(err)
	}
	p, err := a.Peer(s.ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	if at := netip.MustParseAddrPort(p.Remote.Address); at.Addr() == b.Host.Addr() {
		t.Errorf("a sees b at its own address %v", at)
	}
}

// TestRestart: a node that dies and comes back, or all at once, finds its peers
// again without anybody doing anything.
func TestRestart(t *testing.T) {
	s := newSetup(t)
	a, b := s.rig.Node(s.place("port", "a")), s.rig.Node(s.place("symmetric", "b"))
	c := s.rig.Node(s.place("port", "c"))
	s.create(a)
	var last *Process
	for _, n := range []*Node{b, c} {
		p, err := n.StartUp(s.ctx, s.invite(a))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Expect(s.ctx, "p2ptun0 is up"); err != nil {
			t.Fatal(err)
		}
		last = p
	}
	if err := s.waitPath(a, c, peer.PathDirect, time.Now().Add(directGoal)); err != nil {
		t.Fatal(err)
	}
	last.Signal(os.Kill)
	last.Wait()
	start := time.Now()
	if _, err := c.Up(s.ctx); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Node{a, b} {
		if err := n.FirstPing(s.ctx, address(2)); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(start)
	t.Logf("reached again after %v", took.Round(time.Millisecond))
	if took > firstPingGoal {
		t.Errorf("reached again after %v, want at most %v", took, firstPingGoal)
	}
}

// TestMove: a machine whose address changes, or whose router forgets its
// mappings or gets another address, is found again.
func TestMove(t *testing.T) {
	for _, change := range []struct {
		name string
		do   func(home *natlab.NAT, host *natlab.Host) error
	}{
		{"mappings flushed", func(home *natlab.NAT, _ *natlab.Host) error { return home.Flush() }},
		{"address changed", func(_ *natlab.NAT, host *natlab.Host) error { return host.Renumber() }},
		{"public address changed", func(home *natlab.NAT, _ *natlab.Host) error { return home.Renumber() }},
	} {
		t.Run(change.name, func(t *testing.T) {
			s := newSetup(t)
			home := natlab.Must(s.rig.Lab.NAT("home", natlab.PortRestricted))
			a, b := s.rig.Node(natlab.Must(home.Host("a"))), s.rig.Node(s.place("port", "b"))
			if _, err := b.Up(s.ctx, s.create(a)); err != nil {
				t.Fatal(err)
			}
			if err := s.waitNominated(b, a); err != nil {
				t.Fatal(err)
			}
			if err := change.do(home, a.Host); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := b.FirstPing(s.ctx, address(0)); err != nil {
				t.Fatal(err)
			}
			t.Logf("reached again after %v", time.Since(start).Round(time.Millisecond))
		})
	}
}

// waitNominated waits until the session with a peer is completed.
func (s *setup) waitNominated(from, to *Node) error {
	for {
		p, err := from.Peer(s.ctx, to)
		if err == nil && p.ICE == "completed" {
			return nil
		}
		if s.ctx.Err() != nil {
			return fmt.Errorf("%s has not completed with %s: %w", from.Name, to.Name, s.ctx.Err())
		}
	}
}
