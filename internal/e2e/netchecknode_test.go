package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer/behavior"
	"github.com/p2ptun/p2ptun/tunnel"
)

// eventually asks the node until what it says is right.
func (s *setup) eventually(n *Node, what string, right func(*tunnel.Status) bool) {
	s.t.Helper()
	var last *tunnel.Status
	for deadline := time.Now().Add(10 * time.Second); ; {
		st, err := n.Status(s.ctx)
		if err == nil && right(st) {
			return
		}
		if last = st; time.Now().After(deadline) {
			s.t.Errorf("%s: not %s: %+v, %v", n.Name, what, last, err)
			return
		}
	}
}

// TestNodeDiscovers: a node finds out what its NAT lets in, anew in each network; one
// that UDP does not get through to says so; netcheck asks the node whom to test with.
func TestNodeDiscovers(t *testing.T) {
	s := newNetcheckSetup(t, true)
	a, b := s.rig.Node(s.checkPlace("port")), s.rig.Node(s.checkPlace("no-udp"))
	other := natlab.Must(a.Host.AddUplink(natlab.Must(s.rig.Lab.NAT("other", natlab.AddressRestricted))))
	invite, err := a.Up(s.ctx, "--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Up(s.ctx, invite); err != nil {
		t.Fatal(err)
	}
	c := s.rig.Node(s.checkPlace("by-address"))
	if _, err := c.Up(s.ctx, s.must(a, "invite")); err != nil {
		t.Fatal(err)
	}
	s.eventually(c, "aware that addresses matter, by the hub's second one", func(st *tunnel.Status) bool {
		return st.Self.NAT == tunnel.NATStatus{Mapping: behavior.AddressDependent, Filtering: behavior.EndpointIndependent}
	})
	s.eventually(a, "behind its NAT", func(st *tunnel.Status) bool {
		return st.Self.NAT == tunnel.NATStatus{Mapping: behavior.EndpointIndependent, Filtering: behavior.AddressAndPortDependent}
	})
	text := s.must(a, "status")
	if want := "NAT: endpoint-independent mapping, address-and-port-dependent filtering\n"; !strings.Contains(text, want) {
		t.Errorf("status does not say %q:\n%s", want, text)
	}
	s.checkWithNode(a)
	s.checkBlocked(a, b)

	if err := a.Host.DefaultVia(other); err != nil {
		t.Fatal(err)
	}
	s.eventually(a, "behind the other NAT", func(st *tunnel.Status) bool { return st.Self.NAT.Filtering == behavior.AddressDependent })
	s.must(a, "down")
	if r := s.netcheck(a, "--state", a.State()); r.IPv4.Classic != "restricted-cone" || r.Hub.Credentials != nil {
		t.Errorf("without the node: %+v", r)
	}
}

// checkWithNode: netcheck says what the node knows of its relays as well.
func (s *setup) checkWithNode(n *Node) {
	r := s.netcheck(n)
	s.checkNetcheck(n.Name, r, true)
	if r.IPv4.Classic != "port-restricted-cone" || r.Relays[0].Address == "" || r.Hub.Credentials == nil || time.Until(*r.Hub.Credentials) < time.Hour {
		s.t.Errorf("with a node: %+v", r)
	}
	text := s.must(n, "netcheck")
	for _, want := range []string{" behind a NAT of the kind port-restricted-cone\n", "\nDirect with all peers but those behind symmetric NATs"} {
		if !strings.Contains(text, want) {
			s.t.Errorf("netcheck does not say %q:\n%s", want, text)
		}
	}
}

// checkBlocked: a node that nothing comes back to over UDP knows, and says so of its
// peers.
func (s *setup) checkBlocked(a, b *Node) {
	s.eventually(b, "aware that UDP is blocked", func(st *tunnel.Status) bool { return st.Self.UDPBlocked })
	b.Run(s.ctx, "ping", a.Name, "--count", "1", "--interval", "0s") // wakes the peer
	s.eventually(b, "saying why", func(st *tunnel.Status) bool {
		p, err := Find(st, b, a)
		return err == nil && strings.Contains(p.Why, "UDP is blocked here")
	})
	s.eventually(a, "told by the peer", func(st *tunnel.Status) bool {
		p, err := Find(st, a, b)
		return err == nil && strings.Contains(p.Why, "UDP is blocked at "+b.Name)
	})
	if text := s.must(b, "netcheck"); !strings.Contains(text, "is blocked here: the hub answers over TCP") || !strings.Contains(text, "\nNothing is direct here") {
		s.t.Errorf("netcheck says\n%s", text)
	}
}

// TestNetcheckLifetime: a mapping that nothing is sent through is seen to end, behind a
// NAT of each kind.
func TestNetcheckLifetime(t *testing.T) {
	s := newNetcheckSetup(t, false)
	var nodes []*Node
	for name, b := range map[string]natlab.Behavior{"short": natlab.PortRestricted, "shortest": natlab.Symmetric} {
		b.Timeout = 4 * time.Second
		nodes = append(nodes, s.rig.Node(natlab.Must(natlab.Must(s.rig.Lab.NAT(name+"-home", b)).Host(name))))
	}
	for i, r := range s.netcheckEach(nodes, "--hub", s.hub.Link, "--lifetime") {
		if l := r.IPv4.Lifetime; l == nil || l.Dead == nil || l.Alive != 3 || *l.Dead != 5 {
			t.Errorf("%s: %+v, want 3 to 5 s", nodes[i].Name, l)
		}
	}
}
