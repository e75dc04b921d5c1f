package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

// oneWay is a datagram each 20 ms from one node to another, through the tunnel.
type oneWay struct {
	mu      sync.Mutex
	arrived []time.Time
}

// startFlow begins one that ends with the test.
func (s *setup) startFlow(from, to *Node, src, dst netip.Addr) *oneWay {
	s.t.Helper()
	out, err := from.Host.ListenUDP(netip.AddrPortFrom(src, 0))
	if err != nil {
		s.t.Fatal(err)
	}
	in, err := to.Host.ListenUDP(netip.AddrPortFrom(dst, 0))
	if err != nil {
		s.t.Fatal(err)
	}
	var work sync.WaitGroup
	s.t.Cleanup(func() {
		out.Close()
		in.Close()
		work.Wait()
	})
	f := new(oneWay)
	work.Go(func() {
		for {
			// A route may be missing for a moment.
			if _, err := out.WriteTo([]byte("once more"), in.LocalAddr()); errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	work.Go(func() {
		b := make([]byte, 100)
		for {
			if _, _, err := in.ReadFrom(b); err != nil {
				return
			}
			f.mu.Lock()
			f.arrived = append(f.arrived, time.Now())
			f.mu.Unlock()
		}
	})
	return f
}

// silence is for how long nothing came at a stretch, since then.
func (f *oneWay) silence(since time.Time) (longest time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := since
	for _, at := range append(f.arrived, time.Now()) {
		if at.After(last) {
			longest, last = max(longest, at.Sub(last)), at
		}
	}
	return longest
}

// relayedPair is two machines that only a relay connects, on links of 20 ms.
func (s *setup) relayedPair(args ...string) (a, b *Node) {
	s.t.Helper()
	at := func(name string) *Node {
		home := natlab.Must(s.rig.Lab.NAT(name+"-home", natlab.Symmetric, natlab.Through(natlab.Link{Delay: 20 * time.Millisecond})))
		return s.rig.Node(natlab.Must(home.Host(name)))
	}
	a, b = at("a"), at("b")
	invite, err := a.Up(s.ctx, append([]string{"--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String()}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := b.Up(s.ctx, append([]string{invite}, args...)...); err != nil {
		s.t.Fatal(err)
	}
	if err := a.FirstPing(s.ctx, address(1)); err != nil {
		s.t.Fatal(err)
	}
	if err := s.waitPath(a, b, peer.PathRelayed, time.Now().Add(directGoal)); err != nil {
		s.t.Fatal(err)
	}
	return a, b
}

// rest waits; the time is what the test is about.
func (s *setup) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
}

// TestHubRestart: a pair that the hub's relay carries goes on when the hub is back,
// over the same relays, and nothing waits for the signaling.
func TestHubRestart(t *testing.T) {
	s := newSetupFor(t, 2*time.Minute, "debug")
	a, b := s.relayedPair()
	there, back := s.startFlow(a, b, address(0), address(1)), s.startFlow(b, a, address(1), address(0))
	for _, away := range []time.Duration{0, 4 * time.Second} {
		t.Run(fmt.Sprintf("away for %v", away), func(t *testing.T) {
			s.rest(2 * time.Second)
			s.hub.Signal(os.Kill)
			s.hub.Wait()
			s.rest(away)
			var err error
			if s.hub, err = s.rig.StartHub(s.ctx, s.hubHost); err != nil {
				t.Fatal(err)
			}
			since := time.Now()
			for _, n := range []*Node{a, b} {
				if err := s.waitHub(n, true); err != nil {
					t.Fatal(err)
				}
			}
			took := time.Since(since)
			t.Logf("connected to the hub %v after its return", took.Round(time.Millisecond))
			if took > 3*time.Second {
				t.Errorf("connected to the hub after %v, want 3 s at most", took)
			}
			s.rest(2500*time.Millisecond - time.Since(since))
			for name, f := range map[string]*oneWay{"there": there, "back": back} {
				longest := f.silence(since)
				t.Logf("%s: silent for %v after the hub's return", name, longest.Round(time.Millisecond))
				if longest > 2*time.Second {
					t.Errorf("%s: silent for %v after the hub's return, want 2 s at most", name, longest)
				}
			}
		})
	}
}

// TestSecondRelay: of two relays that both sides hold the one that carries dies, and
// the other takes over.
func TestSecondRelay(t *testing.T) {
	s := newSetupFor(t, 2*time.Minute, "debug")
	server, kill := s.coturn("coturn", true)
	a, b := s.relayedPair("--relay", fmt.Sprintf("turn:%s:3479", server.Addr()))
	for _, n := range []*Node{a, b} {
		for _, host := range []*natlab.Host{server, s.hubHost} {
			s.relay(n, host, 5*time.Second, "held", func(r tunnel.RelayStatus) bool { return r.Held && r.Address != "" })
		}
	}
	there, back := s.startFlow(a, b, address(0), address(1)), s.startFlow(b, a, address(1), address(0))
	s.rest(12 * time.Second) // nominated, standby pairs are checked
	since := time.Now()
	if s.over(a, b, server) || s.over(b, a, server) {
		kill()
	} else {
		s.hub.Signal(os.Kill)
		s.hub.Wait()
	}
	s.rest(10 * time.Second)
	for name, f := range map[string]*oneWay{"there": there, "back": back} {
		longest := f.silence(since)
		t.Logf("%s: silent for %v", name, longest.Round(time.Millisecond))
		if longest > time.Second {
			t.Errorf("%s: silent for %v, want 1 s at most", name, longest)
		}
	}
}
