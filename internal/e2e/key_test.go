package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// export writes the network's key to a file, and returns what import-key wants.
func (s *setup) export(n *Node) []string {
	s.t.Helper()
	dir := s.t.TempDir()
	passphrase, backup := filepath.Join(dir, "passphrase"), filepath.Join(dir, "backup.age")
	if err := os.WriteFile(passphrase, []byte("correct horse\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.must(n, "network", "export-key", backup, "--passphrase-file", passphrase)
	return []string{"network", "import-key", backup, "--passphrase-file", passphrase}
}

// lose ends a node and its state, without a word to anybody.
func (s *setup) lose(p *Process, n *Node) {
	s.t.Helper()
	p.Signal(os.Kill)
	p.Wait()
	if err := os.RemoveAll(n.State()); err != nil {
		s.t.Fatal(err)
	}
}

// createForeground makes the network in a process that can be killed.
func (s *setup) createForeground(n *Node) *Process {
	s.t.Helper()
	p, err := n.StartUp(s.ctx, "--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String())
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "p2ptun-invite-"); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// TestImportKeyOnMember: the machine that made the network is lost, and another
// takes its place at once, while it runs.
func TestImportKeyOnMember(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("port", "a"))
	p := s.createForeground(a)
	b, c := s.join(a, "b"), s.join(a, "c")
	importKey := s.export(a)
	s.must(a, "network", "delegate", "b")
	s.waitAdmin(b, "b")
	s.lose(p, a)

	for _, args := range [][]string{{"revoke", "a"}, {"invite", "--replace", "a"}} {
		_, err := b.Run(s.ctx, args...)
		refused(t, err, "only a machine that holds the network's key can do this")
	}
	s.must(b, importKey...)
	s.must(b, "invite", "--replace", "a")
	s.must(b, "revoke", "a")
	s.must(b, "network", "delegate", "c")
	s.waitAdmin(c, "b")
	s.waitAdmin(c, "c")
	_, err := c.Run(s.ctx, "revoke", "b")
	refused(t, err, "only a machine that holds the network's key can do this")
	d := s.join(b, "d")
	s.reach(d, address(2))
	if m := s.nodes(d); len(m) != 3 || !m["b"].Admin {
		t.Errorf("d lists %+v, want b, c and itself", m)
	}

	s.must(b, "down")
	s.up(b)
	s.must(b, "network", "delegate", "d") // that takes the key
	s.waitAdmin(b, "d")
}

// TestImportKeyOnFreshMachine: with every admin lost, the backup alone brings
// the network back.
func TestImportKeyOnFreshMachine(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("port", "a"))
	p := s.createForeground(a)
	b := s.join(a, "b")
	importKey := s.export(a)
	s.lose(p, a)

	d := s.rig.Node(s.place("port", "d"))
	if _, err := d.Run(s.ctx, append(importKey, "--state", d.State(), "--name", "d")...); err != nil {
		t.Fatal(err)
	}
	s.up(d)
	s.reach(d, address(1))
	if m := s.nodes(d); !m["d"].Admin || m["d"].Addresses[0] != address(2) || m["b"].ID == "" {
		t.Errorf("d lists %+v", m)
	}
	s.must(d, "revoke", "a")
	c := s.join(d, "c")
	s.reach(c, address(1))
	if _, there := s.nodes(b)["a"]; there {
		t.Error("b still lists a")
	}
}

// TestKeptByDelegate: the maker of an invite goes off, and the always-on box
// that keeps it admits, also after a crash.
func TestKeptByDelegate(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("port", "a"))
	s.create(a)
	box := s.rig.Node(s.place("port", "box"))
	p, err := box.StartUp(s.ctx, s.invite(a))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "p2ptun0 is up"); err != nil {
		t.Fatal(err)
	}
	s.reach(a, address(1))
	s.must(a, "network", "delegate", "box")
	invite := s.invite(a, "--keeper", "box", "--uses", "2", "--tag", "lab")
	p.Signal(os.Kill) // at once: it is on its disk
	p.Wait()
	s.must(a, "down")
	s.up(box)
	if i := s.invites(box); len(i) != 1 || i[0].From != "a" || i[0].Uses != 2 {
		t.Errorf("box lists %+v", i)
	}
	c := s.rig.Node(s.place("port", "c"))
	if _, err := c.Up(s.ctx, invite); err != nil {
		t.Fatal(err)
	}
	s.reach(c, address(1))
	if m := s.nodes(box)["c"]; len(m.Tags) != 1 || m.Tags[0] != "lab" {
		t.Errorf("c is %+v", m)
	}
	s.must(box, "down")
	s.up(a)
	_, err = a.Run(s.ctx, "invite", "--keeper", "box")
	refused(t, err, "box cannot be reached now")
	if i := s.invites(a); len(i) != 2 { // the first one and box's
		t.Errorf("a lists %+v", i)
	}
}

// TestHandoverEndsWithItsMaker: what a revoked admin had others keep lets nobody
// in.
func TestHandoverEndsWithItsMaker(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("port", "a"))
	s.create(a)
	b, box := s.join(a, "b"), s.join(a, "box")
	s.reach(b, address(0))
	s.reach(b, address(2))
	for _, n := range []string{"b", "box"} {
		s.must(a, "network", "delegate", n)
		s.waitAdmin(b, n)
		s.waitAdmin(box, n)
	}
	_, err := b.Run(s.ctx, "invite", "--keeper", "a")
	refused(t, err, "a machine that holds the network's key keeps no invites of others")
	_, err = b.Run(s.ctx, "invite", "--keeper", "box", "--replace", "a")
	refused(t, err, "is an admin")
	invite := s.invite(b, "--keeper", "box")
	s.must(a, "revoke", "b")
	for s.nodes(box)["b"].ID != "" && s.ctx.Err() == nil { // box hears of it
	}
	if i := s.invites(box); i[0].State != signaling.TicketRevoked {
		t.Errorf("box lists %+v", i)
	}
	_, err = s.rig.Node(s.place("port", "c")).Up(s.ctx, invite)
	refused(t, err, "the invite has been revoked")
}

// TestMemberExpires: a membership ends while everybody runs, and is taken up
// again when it is extended.
func TestMemberExpires(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("port", "a"))
	s.create(a)
	b := s.join(a, "b", "--member-expires", "4s")
	end := *s.nodes(a)["b"].Expires
	s.reach(a, address(1))
	if _, err := stops(s, a, address(1), time.Now(), 2*time.Second); err != nil {
		t.Fatal(err)
	}
	if late := time.Since(end) - 2*time.Second; late < -time.Second || late > 2*time.Second {
		t.Errorf("the tunnel ended %v after the membership", late)
	}
	if st, err := a.Status(s.ctx); err != nil || len(st.Peers) != 0 {
		t.Errorf("a still has %+v, %v", st.Peers, err)
	}
	s.waitState(b, "expired")
	if text := s.must(b, "status"); !strings.HasPrefix(text, "b in home: the membership ended at ") {
		t.Errorf("b says\n%s", text)
	}
	if !strings.Contains(s.must(a, "nodes"), " (over) ") {
		t.Error("a does not show that it is over")
	}
	s.must(b, "down")
	s.up(b) // says so, and waits
	s.up(b) // runs already
	s.must(a, "network", "extend", "b")
	start := time.Now()
	s.waitState(b, "up")
	s.reach(a, address(1))
	t.Logf("back %v after it was extended", time.Since(start).Round(time.Millisecond))
	if e := s.nodes(a)["b"].Expires; e != nil {
		t.Errorf("b is a member until %v", e)
	}
}

func (s *setup) waitState(n *Node, state string) {
	s.t.Helper()
	for {
		st, err := n.Status(s.ctx)
		if err == nil && st.Self.State == state {
			return
		}
		if s.ctx.Err() != nil {
			s.t.Fatalf("%s: %+v, %v; want %s", n.Name, st, err, state)
		}
	}
}

// TestHubsSet: a network of three moves to another hub while it is in use, and
// no ping is lost. Then it does without the old one.
func TestHubsSet(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("port", "a"))
	s.create(a)
	b, c := s.join(a, "b"), s.join(a, "c")
	away := s.join(a, "away")
	s.must(away, "down")
	for _, n := range []*Node{a, b, c} {
		for i := range 3 {
			s.reach(n, address(i))
		}
	}
	other, err := s.rig.StartHub(s.ctx, s.place("public", "hub2"))
	if err != nil {
		t.Fatal(err)
	}
	moved := make(chan struct{})
	lost := make(chan int, 3)
	for i, n := range []*Node{a, b, c} {
		go func() { lost <- losses(s, n, address((i+1)%3), moved) }()
	}
	start := time.Now()
	s.must(a, "hubs", "set", other.Link)
	for _, n := range []*Node{a, b, c} {
		s.waitHubAt(n, other)
	}
	t.Logf("all are at the new hub after %v", time.Since(start).Round(time.Millisecond))
	close(moved)
	for range 3 {
		if n := <-lost; n != 0 {
			t.Errorf("%d pings lost", n)
		}
	}

	s.up(away) // hears of it at the old hub
	s.waitHubAt(away, other)
	s.hub.Signal(os.Kill)
	s.hub.Wait()
	s.must(b, "down")
	s.up(b)
	s.reach(b, address(2))
	s.reach(s.join(a, "d"), address(2))
	if text := s.must(c, "hubs", "list"); !strings.Contains(text, s.hubURL(other)) || strings.Contains(text, s.hubURL(s.hub)) {
		t.Errorf("c lists %s", text)
	}
	_, err = a.Run(s.ctx, "hubs", "set", s.hub.Link)
	refused(t, err, "the network stays at its hub")
}

// losses counts the pings to the next machine that are not answered, until done.
func losses(s *setup, from *Node, to netip.Addr, done chan struct{}) (lost int) {
	conn, err := from.pinger(to)
	if err != nil {
		s.t.Error(err)
		return 0
	}
	defer conn.Close()
	for {
		select {
		case <-done:
			return lost
		case <-s.ctx.Done():
			return lost
		default:
		}
		if request(conn, to, 1) != nil || !answered(conn, to, time.Now().Add(time.Second)) {
			lost++
		}
	}
}

func (s *setup) waitHubAt(n *Node, hub *Hub) {
	s.t.Helper()
	for {
		st, err := n.Status(s.ctx)
		if err == nil && st.Hub.Connected && st.Hub.URL == s.hubURL(hub) {
			return
		}
		if s.ctx.Err() != nil {
			s.t.Fatalf("%s is not at %s: %+v, %v", n.Name, s.hubURL(hub), st, err)
		}
	}
}

func (s *setup) hubURL(hub *Hub) string {
	s.t.Helper()
	link, err := config.ParseHubLink(hub.Link)
	if err != nil {
		s.t.Fatal(err)
	}
	return link.URLs[0]
}
