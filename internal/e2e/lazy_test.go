package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
)

// lazyIdleAfter is how soon tunnels end in these tests, for lack of data.
const lazyIdleAfter = 3 * time.Second

// lazyBinary is a p2ptun whose nodes have no neighbours, and end a tunnel soon;
// restingBinary's have neighbours as ever.
var (
	lazyBinary    = sync.OnceValues(func() (string, error) { return buildIdle("linkedNeighbours=0") })
	restingBinary = sync.OnceValues(func() (string, error) { return buildIdle("linkedNeighbours=3") })
)

func buildIdle(setting string) (string, error) {
	dir, err := os.MkdirTemp(binDir, "idle-")
	if err != nil {
		return "", err
	}
	const set = "-X github.com/p2ptun/p2ptun/tunnel."
	return Build(dir, "-ldflags", fmt.Sprintf(set+"linkedIdleAfter=%v "+set+"%s", lazyIdleAfter, setting))
}

// newLazySetup brings up nodes in such places that know each other, and no more.
func newLazySetup(t *testing.T, limit time.Duration, places ...string) (*setup, []*Node) {
	t.Helper()
	s := newSetupFor(t, limit, "debug")
	var err error
	if s.rig.Bin, err = lazyBinary(); err != nil {
		t.Fatal(err)
	}
	var nodes []*Node
	for i, place := range places {
		n := s.rig.Node(s.place(place, string(rune('a'+i))))
		nodes = append(nodes, n)
		if i == 0 {
			s.create(n)
		} else if _, err := n.Up(s.ctx, s.invite(nodes[0])); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range nodes {
		s.waitIdle(n, nodes[(i+1)%len(nodes)])
	}
	return s, nodes
}

// waitIdle waits until a node has no tunnel to another, which is online.
func (s *setup) waitIdle(n, other *Node) {
	s.t.Helper()
	for {
		p, err := n.Peer(s.ctx, other)
		if err == nil && p.State == peer.Idle && p.Online {
			if p.Path != peer.PathNone || !strings.HasPrefix(p.Why, "idle:") {
				s.t.Errorf("%s says of %s, which is idle: %+v", n.Name, other.Name, p)
			}
			return
		}
		if s.ctx.Err() != nil {
			s.t.Fatalf("%s: %s is not idle: %+v, %v", n.Name, other.Name, p, err)
		}
		time.Sleep(50 * time.Millisecond) // each question is a process
	}
}

// TestFirstPackets: the first packets to a peer that nothing was said to arrive,
// all and in order, and soon.
func TestFirstPackets(t *testing.T) {
	t.Parallel()
	for _, places := range [][]string{
		{"public", "public"}, {"public", "port"}, {"port", "port"}, {"full", "symmetric"}, {"symmetric", "port"},
		{"symmetric", "symmetric"}, {"cgnat-port", "port"}, {"port", "cgnat-symmetric"},
	} {
		t.Run(strings.Join(places, " to "), func(t *testing.T) {
			s, nodes := newLazySetup(t, time.Minute, places...)
			s.burst(nodes[0], nodes[1], address(1))
		})
	}
}

// burst sends five packets at once and wants them there, in a second.
func (s *setup) burst(from, to *Node, addr netip.Addr) {
	s.t.Helper()
	server, err := to.Host.ListenUDP(netip.AddrPortFrom(addr, 0))
	if err != nil {
		s.t.Fatal(err)
	}
	defer server.Close()
	client, err := from.Host.ListenUDP(netip.AddrPort{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	start := time.Now()
	for i := range 5 {
		if _, err := client.WriteTo([]byte{byte(i)}, server.LocalAddr()); err != nil {
			s.t.Fatal(err)
		}
	}
	server.SetReadDeadline(start.Add(10 * time.Second))
	for i := range 5 {
		b := make([]byte, 100)
		n, _, err := server.ReadFrom(b)
		if err != nil || n != 1 || b[0] != byte(i) {
			s.t.Fatalf("packet %d: %v, %v", i, b[:n], err)
		}
		if i == 0 {
			s.t.Logf("the first packet took %v", time.Since(start).Round(time.Millisecond))
		}
	}
	if took := time.Since(start); took > time.Second {
		s.t.Errorf("the packets took %v, want at most a second", took)
	}
}

// TestFallsIdle: without data both sides drop the tunnel and all that goes with
// it, and nothing is on the wire; the next packet makes it again.
func TestFallsIdle(t *testing.T) {
	t.Parallel()
	s, nodes := newLazySetup(t, time.Minute, "port", "port")
	a, b := nodes[0], nodes[1]
	s.burst(a, b, address(1))
	if got := peerGoroutines(t, a); got < 4 { // or this test is wrong
		t.Errorf("a has %d goroutines for b while it talks to it", got)
	}
	s.waitIdle(a, b)
	s.waitIdle(b, a)
	for _, n := range nodes {
		if got := peerGoroutines(t, n); got != 0 {
			t.Errorf("%s has %d goroutines for a peer that is idle:\n%s", n.Name, got, profileText(t, n, "goroutine?debug=2"))
		}
	}
	wire := sniff(t, a.Host)
	time.Sleep(2 * lazyIdleAfter) // for what there might be to see
	if got := toOthers(wire.stop(), s.hubHost.Addr()); got != 0 {
		t.Errorf("%d packets on the wire between peers that are idle", got)
	}
	s.burst(b, a, address(0))
	if out, err := a.Run(s.ctx, "ping", "b", "--count", "1"); err != nil {
		t.Error(err)
	} else {
		t.Log(out)
	}
}

// TestIdleLosesNothing: packets that go just when a tunnel ends arrive, too, also
// where what the two sides say of it takes half a second by the hub.
func TestIdleLosesNothing(t *testing.T) {
	t.Parallel()
	l := newIdleLab(t, 2*time.Minute)
	nodes := []*Node{l.a, l.b}
	l.evil.hostile(func(s *seat, up bool, m signaling.Message) []signaling.Message {
		if signal, ok := m.(*signaling.Signal); ok && !up {
			time.AfterFunc(500*time.Millisecond, func() { s.tell(signal) })
			return nil
		}
		return []signaling.Message{m}
	})
	defer l.evil.hostile(nil)
	from := []*net.UDPConn{}
	for i, n := range nodes {
		conn, err := n.Host.ListenUDP(netip.AddrPortFrom(address(i), 4711))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		from = append(from, conn)
	}
	for round := range byte(8) {
		i := int(round) % 2
		to := from[1-i]
		l.waitIdle(nodes[1-i], nodes[i]) // the other side may have the tunnel yet
		start := time.Now()
		if _, err := from[i].WriteTo([]byte{round}, to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		to.SetReadDeadline(start.Add(10 * time.Second))
		n, _, err := to.ReadFrom(b)
		if err != nil || n != 1 || b[0] != round {
			t.Fatalf("packet %d: %v, %v", round, b[:n], err)
		}
		took := time.Since(start)
		t.Logf("packet %d took %v", round, took.Round(time.Millisecond))
		if took > 4*time.Second {
			t.Errorf("packet %d took %v", round, took)
		}
	}
}

// newIdleLab brings two machines up at a hostile hub, which talked and are idle.
func newIdleLab(t *testing.T, limit time.Duration) *hostileLab {
	t.Helper()
	l := &hostileLab{setup: newSetupFor(t, limit, "debug", "--plain-http")}
	l.evil = startHostileHub(t, l.hubHost, l.hub)
	l.hub.Link = l.evil.Link
	var err error
	if l.rig.Bin, err = lazyBinary(); err != nil {
		t.Fatal(err)
	}
	l.a, l.b = l.rig.Node(l.place("port", "a")), l.rig.Node(l.place("port", "b"))
	if _, err := l.b.Up(l.ctx, l.create(l.a)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // so that there is more than the last to repeat
		l.waitIdle(l.a, l.b)
		l.waitIdle(l.b, l.a)
		l.burst(l.a, l.b, address(1))
	}
	l.waitIdle(l.a, l.b)
	l.waitIdle(l.b, l.a)
	return l
}

// TestNeighboursRest: a tunnel that is kept without data works, with hardly a
// packet, and is found again when an address changes meanwhile.
func TestNeighboursRest(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"port", "symmetric"} { // direct, relayed
		t.Run(place, func(t *testing.T) {
			s := newSetupFor(t, time.Minute, "debug")
			var err error
			if s.rig.Bin, err = restingBinary(); err != nil {
				t.Fatal(err)
			}
			a, b := s.rig.Node(s.place(place, "a")), s.rig.Node(s.place(place, "b"))
			if _, err := b.Up(s.ctx, s.create(a)); err != nil {
				t.Fatal(err)
			}
			s.waitRest(a, b)
			s.waitRest(b, a)
			if got := peerGoroutines(t, a); got != 3 {
				t.Errorf("a has %d goroutines for a neighbour at rest, want the session's and two of WireGuard", got)
			}
			wire := sniff(t, a.Host)
			time.Sleep(10 * time.Second) // in which there is one keepalive at most, each way
			frames := wire.stop()
			got := toOthers(frames, s.hubHost.Addr())
			if place == "symmetric" {
				got = countChannelData(frames)
			}
			if got > 4 {
				t.Errorf("%d packets between neighbours at rest in 10 s", got)
			}
			start := time.Now()
			s.reach(b, address(0))
			if took := time.Since(start); took > 200*time.Millisecond {
				t.Errorf("a was reached after %v", took)
			}
			s.waitICE(b, a)
			s.waitRest(a, b)
			s.waitRest(b, a)
			if err := a.Host.Renumber(); err != nil {
				t.Fatal(err)
			}
			start = time.Now()
			s.waitICE(b, a)
			s.reach(b, address(0))
			t.Logf("found again %v after its address changed", time.Since(start).Round(time.Millisecond))
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("found again after %v", took)
			}
		})
	}
}

// waitICE waits until a node has checked the path to another.
func (s *setup) waitICE(n, other *Node) {
	s.t.Helper()
	for {
		p, err := n.Peer(s.ctx, other)
		if err == nil && (p.ICE == "connected" || p.ICE == "completed") {
			return
		}
		if s.ctx.Err() != nil {
			s.t.Fatalf("%s has no ICE session with %s: %+v, %v", n.Name, other.Name, p, err)
		}
	}
}

// waitRest waits until a node is connected to another without an ICE session.
func (s *setup) waitRest(n, other *Node) {
	s.t.Helper()
	for {
		p, err := n.Peer(s.ctx, other)
		if err == nil && p.State == peer.Connected && p.ICE == "" {
			return
		}
		if s.ctx.Err() != nil {
			s.t.Fatalf("%s: %s is not at rest: %+v, %v", n.Name, other.Name, p, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func countChannelData(frames [][]byte) (count int) {
	for _, f := range frames {
		if p := udp(f); p != nil && channelData(p) != nil {
			count++
		}
	}
	return count
}

// TestIdleReplays: what was said before a tunnel ended starts nothing after it.
func TestIdleReplays(t *testing.T) {
	t.Parallel()
	l := newIdleLab(t, time.Minute)
	a, b := l.key(l.a).Public(), l.key(l.b).Public()
	all := l.evil.sent(a, b)
	if len(all) < 5 {
		t.Fatalf("only %d messages to repeat", len(all))
	}
	answers := len(l.evil.sent(b, a))
	before := count(l.b.Log(), "msg=candidate ")
	for _, m := range all {
		l.seat(l.b).tell(m)
	}
	l.until(t, 5*time.Second, "b looks at them", func() bool { return l.counted(l.b, "stale sealed message") > 0 })
	l.waitIdle(l.b, l.a)
	l.waitIdle(l.a, l.b)
	if n := count(l.b.Log(), "msg=candidate ") - before; n != 0 {
		t.Errorf("b has begun an ICE session: %d candidates", n)
	}
	for _, m := range l.evil.sent(b, a)[answers:] {
		if len(m.Sealed) > 0 && m.Sealed[0] != 2 { // the same answer as before
			t.Errorf("b said something new: kind %d", m.Sealed[0])
		}
	}
	l.burst(l.a, l.b, address(1))
}

// TestIdleKeeper: what one machine has to tell another wakes it, too: here an
// invite that another admin is to keep.
func TestIdleKeeper(t *testing.T) {
	t.Parallel()
	s, nodes := newLazySetup(t, time.Minute, "port", "port")
	a, b := nodes[0], nodes[1]
	s.must(a, "network", "delegate", "b")
	for !s.nodes(b)["b"].Admin {
		if s.ctx.Err() != nil {
			t.Fatal("b is no admin")
		}
	}
	s.waitIdle(a, b)
	start := time.Now()
	invite := s.must(a, "invite", "--keeper", "b")
	t.Logf("an idle keeper has the invite after %v", time.Since(start).Round(time.Millisecond))
	c := s.rig.Node(s.place("public", "c"))
	if _, err := c.Up(s.ctx, invite); err != nil {
		t.Error(err)
	}
	start = time.Now()
	if _, err := c.Run(s.ctx, "ping", "a", "--count", "1"); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("the first ping took %v", took)
	}
}

// TestIdleWithoutHub: while there is no hub no tunnel ends for lack of data.
func TestIdleWithoutHub(t *testing.T) {
	t.Parallel()
	s, nodes := newLazySetup(t, time.Minute, "port", "port")
	a, b := nodes[0], nodes[1]
	s.burst(a, b, address(1))
	s.hub.Signal(os.Kill)
	s.hub.Wait()
	for _, n := range nodes {
		if err := s.waitHub(n, false); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(3 * lazyIdleAfter) // in which it would end
	s.burst(b, a, address(0))
}

// peerGoroutines counts those that a node has for its peers: two of each in the
// WireGuard device, one of the session, and those of its ICE agent.
func peerGoroutines(t *testing.T, n *Node) (count int) {
	t.Helper()
	for end := time.Now().Add(time.Second); time.Now().Before(end); { // what is about to end may
		count = 0
		for stack := range strings.SplitSeq(profileText(t, n, "goroutine?debug=2"), "\n\n") {
			for _, f := range []string{"device.(*Peer).Routine", "peer.(*loop).run(", "/ice/"} {
				if strings.Contains(stack, f) {
					count++
					break
				}
			}
		}
		if count == 0 {
			break
		}
	}
	return count
}

// profileText is one of a node's profiles.
func profileText(t *testing.T, n *Node, name string) string {
	t.Helper()
	c := http.Client{Transport: &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", n.socket()) },
		DisableKeepAlives: true,
	}}
	resp, err := c.Get("http://p2ptun/debug/pprof/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text strings.Builder
	_, err = bufio.NewReader(resp.Body).WriteTo(&text)
	if err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	return text.String()
}

// toOthers counts the UDP packets of a capture that neither go to nor come from an
// address.
func toOthers(frames [][]byte, addr netip.Addr) (count int) {
	for _, f := range frames {
		if udp(f) == nil {
			continue
		}
		from, to := netip.AddrFrom4([4]byte(f[26:30])), netip.AddrFrom4([4]byte(f[30:34]))
		if from != addr && to != addr {
			count++
		}
	}
	return count
}
