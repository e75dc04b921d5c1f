package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
)

// join makes a machine behind a NAT a member, by an invite of that admin.
func (s *setup) join(admin *Node, name string, invite ...string) *Node {
	s.t.Helper()
	n := s.rig.Node(s.place("port", name))
	if _, err := n.Up(s.ctx, s.invite(admin, invite...)); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *setup) must(n *Node, args ...string) string {
	s.t.Helper()
	out, err := n.Run(s.ctx, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// up brings a known node up, which must work.
func (s *setup) up(nodes ...*Node) {
	s.t.Helper()
	for _, n := range nodes {
		if _, err := n.Up(s.ctx); err != nil {
			s.t.Fatal(err)
		}
	}
}

// reach pings until there is an answer.
func (s *setup) reach(from *Node, to netip.Addr) {
	s.t.Helper()
	if err := from.FirstPing(s.ctx, to); err != nil {
		s.t.Fatal(err)
	}
}

// nodes is what a node says of the members, by name.
func (s *setup) nodes(n *Node) map[string]tunnel.NodeInfo {
	s.t.Helper()
	var list []tunnel.NodeInfo
	if err := json.Unmarshal([]byte(s.must(n, "nodes", "--json")), &list); err != nil {
		s.t.Fatal(err)
	}
	members := make(map[string]tunnel.NodeInfo)
	for _, m := range list {
		members[m.Name] = m
	}
	return members
}

// copyState copies a node's state directory, as a thief or a backup would.
func copyState(t *testing.T, n *Node, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(n.State())); err != nil {
		t.Fatal(err)
	}
}

// stops returns how long after since a peer last answered; it watches until
// there was no answer for quiet.
func stops(s *setup, from *Node, to netip.Addr, since time.Time, quiet time.Duration) (time.Duration, error) {
	conn, err := from.pinger(to)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	last := since
	for time.Since(last) < quiet {
		if s.ctx.Err() != nil {
			return 0, s.ctx.Err()
		}
		if err := request(conn, to, 1); err != nil {
			return 0, err
		}
		if answered(conn, to, time.Now().Add(10*time.Millisecond)) {
			last = time.Now()
		}
	}
	return last.Sub(since), nil
}

// revokeGoal is how soon a revocation counts at every member that is reachable.
const revokeGoal = time.Second

// TestRevoke: who is thrown out is cut off at once at every reachable member,
// is told why, and stays out when the hub and everybody else starts anew, with
// an old copy of its state as well.
func TestRevoke(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("port", "a"))
	s.create(a)
	b := s.join(a, "b")
	c := s.rig.Node(s.place("port", "c"))
	p, err := c.StartUp(s.ctx, s.invite(a))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "p2ptun0 is up"); err != nil {
		t.Fatal(err)
	}
	s.reach(c, address(0))
	s.reach(c, address(1))
	stolen := filepath.Join(t.TempDir(), "c")
	copyState(t, c, stolen)

	type result struct {
		to   *Node
		took time.Duration
		err  error
	}
	results := make(chan result, 2)
	start := time.Now()
	for _, to := range []*Node{a, b} {
		go func() {
			took, err := stops(s, to, address(2), start, 2*time.Second)
			results <- result{to, took, err}
		}()
	}
	s.must(a, "revoke", "c")
	revoked := time.Since(start)
	for range 2 {
		r := <-results
		t.Logf("%s was cut off from c %v after the command began, which took %v", r.to.Name, r.took.Round(time.Millisecond), revoked.Round(time.Millisecond))
		if r.err != nil || r.took > revokeGoal {
			t.Errorf("%s was cut off after %v (%v), want at most %v", r.to.Name, r.took, r.err, revokeGoal)
		}
	}
	if code := exitCode(p.Wait()); code != 1 || !strings.Contains(p.Text(), "p2ptun: error: an admin has removed this machine from the network\n") {
		t.Errorf("c ended with code %d:\n%s", code, p.Text())
	}
	for _, n := range []*Node{a, b} {
		if _, there := s.nodes(n)["c"]; there {
			t.Errorf("%s still lists c", n.Name)
		}
	}

	// Everything starts anew.
	s.hub.Signal(os.Kill)
	s.hub.Wait()
	for _, n := range []*Node{a, b} {
		s.must(n, "down")
	}
	if s.hub, err = s.rig.StartHub(s.ctx, s.hubHost); err != nil {
		t.Fatal(err)
	}
	s.up(a, b)
	s.reach(a, address(1))
	_, err = c.Up(s.ctx)
	refused(t, err, "an admin has removed this machine from the network")
	copyState(t, &Node{Name: "c", rig: &Rig{Dir: filepath.Dir(stolen)}}, c.State())
	if p, err = c.StartUp(s.ctx); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(p.Wait()); code != 1 || !strings.Contains(p.Text(), "p2ptun: error: an admin has removed this machine") {
		t.Errorf("with an old copy of its state c ended with code %d:\n%s", code, p.Text())
	}
	if _, err := c.Run(s.ctx, "leave", "--state", c.State()); err != nil {
		t.Error(err)
	}
	if _, err := c.Up(s.ctx, s.invite(a)); err != nil {
		t.Error(err)
	}
	if again := s.nodes(a)["c"].Addresses[0]; again == address(2) {
		t.Errorf("c has the address %v again", again)
	}
}

// TestRevokeUnknown: what cannot be revoked is said, and harms nothing.
func TestRevokeUnknown(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("public", "a"))
	s.create(a)
	b := s.join(a, "b")
	id := s.nodes(a)["b"].ID
	for _, tt := range []struct {
		on   *Node
		args []string
		want string
	}{
		{a, []string{"revoke", "x"}, `no member has the name or ID "x"`},
		{a, []string{"revoke", "a"}, "a is this very machine"},
		{a, []string{"network", "delegate", "a"}, "a is an admin already"},
		{a, []string{"network", "extend", "x"}, `no member has the name or ID "x"`},
		{a, []string{"invite", "revoke", "x"}, `this machine keeps no invite "x"`},
		{a, []string{"invite", "--replace", "x"}, `no member has the name "x"`},
		{a, []string{"invite", "--keeper", "b"}, "b is no admin, so it can keep no invite"},
		{b, []string{"invite"}, "this machine is no admin of the network"},
		{b, []string{"invite", "list"}, "this machine is no admin of the network"},
		{b, []string{"revoke", "a"}, "this machine is no admin of the network"},
		{b, []string{"network", "delegate", "b"}, "this machine is no admin of the network"},
		{b, []string{"network", "extend", "b"}, "this machine is no admin of the network"},
		{b, []string{"hubs", "set", s.hub.Link}, "this machine is no admin of the network"},
		{b, []string{"network", "export-key"}, "only a machine that holds the network's key can do this"},
	} {
		_, err := tt.on.Run(s.ctx, tt.args...)
		refused(t, err, tt.want)
	}
	s.reach(a, address(1))
	s.must(a, "revoke", id)
	if _, there := s.nodes(a)["b"]; there {
		t.Error("b is still listed, revoked by its ID")
	}
}

// TestDelegate: a delegate admits and revokes while the machine that made the
// network is off, and touches no admin. Thrown out, it takes with it whom it
// admitted only if that is wanted.
func TestDelegate(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("port", "a"))
	s.create(a)
	b := s.join(a, "b")
	s.must(a, "network", "delegate", "b")
	if m := s.nodes(a); !m["a"].Admin || !m["b"].Admin {
		t.Errorf("a does not list both as admins: %+v", m)
	}
	s.waitAdmin(b, "b")
	s.must(a, "down")

	s.join(b, "c")
	d := s.join(b, "d")
	s.reach(d, address(1))
	s.reach(d, address(2))
	for _, args := range [][]string{{"revoke", "a"}, {"network", "delegate", "c"}, {"invite", "--replace", "a"}} {
		_, err := b.Run(s.ctx, args...)
		refused(t, err, "only a machine that holds the network's key can do this")
	}
	s.must(b, "revoke", "c")

	s.up(a)
	s.reach(a, address(3))
	_, err := a.Run(s.ctx, "revoke", "b")
	refused(t, err, "b is an admin, and had admitted d; had revoked c: say what becomes of that")
	s.must(a, "revoke", "--keep-admitted", "b")
	s.reach(a, address(3)) // it stays, by a's word
	s.up(d)
	if m := s.nodes(a); len(m) != 2 || m["d"].ID == "" {
		t.Errorf("a lists %v, want itself and d", m)
	}
	b.Run(s.ctx, "down") // waits for the end, if it has not come yet
	_, err = b.Up(s.ctx)
	refused(t, err, "an admin has removed this machine from the network")
}

// waitAdmin waits until a node lists another as an admin.
func (s *setup) waitAdmin(n *Node, name string) {
	s.t.Helper()
	for !s.nodes(n)[name].Admin {
		if s.ctx.Err() != nil {
			s.t.Fatalf("%s never listed %s as an admin", n.Name, name)
		}
	}
}

// TestKeptMembersKeepTheirTunnels: those whom a revoked delegate had admitted, and
// who stay, lose no packet, also while there is no hub.
func TestKeptMembersKeepTheirTunnels(t *testing.T) {
	for _, hub := range []bool{true, false} {
		t.Run(fmt.Sprintf("hub %v", hub), func(t *testing.T) {
			s := newSetup(t)
			a := s.rig.Node(s.place("port", "a"))
			s.create(a)
			d := s.join(a, "d")
			s.must(a, "network", "delegate", "d")
			s.waitAdmin(d, "d")
			x, y := s.join(d, "x"), s.join(d, "y")
			for _, to := range []int{0, 1, 3} {
				s.reach(x, address(to))
			}
			s.reach(y, address(0))
			if !hub {
				s.hub.Signal(os.Kill)
				s.hub.Wait()
			}
			over := make(chan struct{})
			lost := make(chan int, 2)
			go func() { lost <- losses(s, x, address(3), over) }()
			go func() { lost <- losses(s, a, address(2), over) }()
			s.must(a, "revoke", "--keep-admitted", "d")
			for _, n := range []*Node{a, x, y} {
				for until := time.Now().Add(20 * time.Second); s.nodes(n)["d"].ID != ""; {
					if time.Now().After(until) {
						t.Fatalf("%s still lists d", n.Name)
					}
				}
			}
			time.Sleep(time.Second) // what would be lost would be lost now
			close(over)
			for range 2 {
				if n := <-lost; n != 0 {
					t.Errorf("%d pings lost", n)
				}
			}
			if m := s.nodes(x); len(m) != 3 || m["y"].ID == "" {
				t.Errorf("x lists %v, want a, x and y", m)
			}
		})
	}
}

// TestDropAdmitted: an admin goes with all whom it admitted.
func TestDropAdmitted(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("public", "a"))
	s.create(a)
	b := s.join(a, "b")
	s.must(a, "network", "delegate", "b")
	s.waitAdmin(b, "b")
	s.join(b, "c")
	s.reach(a, address(2))
	s.must(a, "revoke", "--drop-admitted", "b")
	if m := s.nodes(a); len(m) != 1 {
		t.Errorf("a lists %v, want itself alone", m)
	}
	if took, err := stops(s, a, address(2), time.Now(), time.Second); err != nil || took > revokeGoal {
		t.Errorf("c still answers after %v, %v", took, err)
	}
}

// TestReplace: a machine whose disk was lost gets its name and address back,
// and its old keys are worth nothing.
func TestReplace(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("port", "a"))
	s.create(a)
	b := s.join(a, "b")
	c := s.join(a, "c")
	s.reach(c, address(1))
	was := s.nodes(a)["b"]
	s.must(b, "down")
	stolen := filepath.Join(t.TempDir(), "b")
	copyState(t, b, stolen)
	if err := os.RemoveAll(b.State()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Up(s.ctx, s.invite(a, "--replace", "b"), "--name", "other"); err != nil {
		t.Fatal(err)
	}
	s.reach(c, address(1))
	s.reach(b, address(0))
	if is := s.nodes(c)["b"]; is.ID == was.ID || is.Addresses[0] != was.Addresses[0] {
		t.Errorf("b is %+v, was %+v", is, was)
	}
	thief := s.rig.Node(s.place("port", "thief"))
	copyState(t, &Node{Name: "b", rig: &Rig{Dir: filepath.Dir(stolen)}}, thief.State())
	p, err := thief.StartUp(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if code := exitCode(p.Wait()); code != 1 || !strings.Contains(p.Text(), "an admin has removed this machine") {
		t.Errorf("the old keys ended with code %d:\n%s", code, p.Text())
	}
}

// TestInviteRevoke: `invite list` says how they stand, and a revoked one lets
// nobody in.
func TestInviteRevoke(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("public", "a"))
	first := s.create(a)
	second := s.invite(a, "--uses", "3", "--tag", "lab", "--member-expires", "1h")
	invites := s.invites(a)
	if len(invites) != 2 || invites[0].Uses != 3 || invites[0].State != signaling.TicketOpen || invites[0].MemberExpires != "1h0m0s" {
		t.Fatalf("listed %+v", invites)
	}
	b := s.rig.Node(s.place("port", "b"))
	if _, err := b.Up(s.ctx, second); err != nil {
		t.Fatal(err)
	}
	if m := s.nodes(a)["b"]; m.Expires == nil || time.Until(*m.Expires) > time.Hour || len(m.Tags) != 1 {
		t.Errorf("b is %+v", m)
	}
	if i := s.invites(a)[0]; i.Used != 1 || len(i.Joined) != 1 || i.Joined[0] != "b" {
		t.Errorf("listed %+v", i)
	}
	for _, i := range invites {
		s.must(a, "invite", "revoke", i.ID)
	}
	for _, i := range s.invites(a) {
		if i.State != signaling.TicketRevoked {
			t.Errorf("listed %+v", i)
		}
	}
	c := s.rig.Node(s.place("public", "c"))
	for _, invite := range []string{first, second} {
		_, err := c.Up(s.ctx, invite)
		refused(t, err, "the invite has been revoked")
	}
	s.reach(b, address(0))
}

func (s *setup) invites(n *Node) (list []signaling.InviteInfo) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.must(n, "invite", "list", "--json")), &list); err != nil {
		s.t.Fatal(err)
	}
	return list
}

// TestRefusedSecondInvite: a new invite that is refused does not take the place
// of one that waits for its keeper.
func TestRefusedSecondInvite(t *testing.T) {
	s := newSetup(t)
	a, b := s.rig.Node(s.place("port", "a")), s.rig.Node(s.place("port", "b"))
	good := s.create(a)
	expired := s.invite(a, "--expires", "1ms")
	s.waitExpired(a, expired)
	s.invite(a) // tells the hub how the others stand
	s.must(a, "down")
	p, err := b.StartUp(s.ctx, good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "waiting for a, who keeps this invite"); err != nil {
		t.Fatal(err)
	}
	p.Signal(os.Interrupt)
	p.Wait()
	_, err = b.Up(s.ctx, expired)
	refused(t, err, "the invite has expired")
	var failed *CommandError
	if errors.As(err, &failed) && !strings.Contains(failed.Stderr, "the invite that this machine had before still stands") {
		t.Errorf("said\n%s", failed.Stderr)
	}
	s.up(a, b)
	s.reach(b, address(0))

	// One that is good takes its place.
	waits := s.invite(a)
	s.must(a, "down")
	c := s.rig.Node(s.place("port", "c"))
	if p, err = c.StartUp(s.ctx, waits); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "waiting for a, who keeps this invite"); err != nil {
		t.Fatal(err)
	}
	p.Signal(os.Interrupt)
	p.Wait()
	s.up(a)
	if _, err := c.Up(s.ctx, s.invite(a)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Node{b, c} {
		if _, err := os.Stat(filepath.Join(n.State(), "earlier.json")); err == nil {
			t.Errorf("what %s had set aside is still there", n.Name)
		}
	}
}

// waitExpired waits until an invite is over.
func (s *setup) waitExpired(keeper *Node, token string) {
	s.t.Helper()
	i, err := config.ParseInvite(token)
	if err != nil {
		s.t.Fatal(err)
	}
	hash := signaling.NewInviteKeys(i.Network.ID(), i.Secret).TicketHash()
	id := config.ID(hash[:16]).String()[:8]
	for {
		for _, i := range s.invites(keeper) {
			if i.ID == id && i.State == signaling.TicketExpired {
				return
			}
		}
		if s.ctx.Err() != nil {
			s.t.Fatal("the invite does not expire")
		}
	}
}
