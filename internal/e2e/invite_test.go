package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// TestBadInvites: each gets one clear line and exit code 1 at once, and leaves
// no state behind.
func TestBadInvites(t *testing.T) {
	s := newSetup(t)
	a := s.rig.Node(s.place("public", "a"))
	good := s.create(a)
	used := s.invite(a)
	if _, err := s.rig.Node(s.place("public", "first")).Up(s.ctx, used); err != nil {
		t.Fatal(err)
	}
	parsed, err := config.ParseInvite(good)
	if err != nil {
		t.Fatal(err)
	}
	unknown, foreign := parsed, parsed
	unknown.Secret[0] ^= 1
	other, err := s.rig.StartHub(s.ctx, s.place("public", "hub2"))
	if err != nil {
		t.Fatal(err)
	}
	link, err := config.ParseHubLink(other.Link)
	if err != nil {
		t.Fatal(err)
	}
	foreign.Hub = link.Hub
	stolen := parsed
	stolen.Hub.Key = link.Key

	tests := []struct{ name, invite, want string }{
		{"nonsense", "hello", "does not begin with"},
		{"truncated", good[:len(good)-7], "cut off or mistyped"},
		{"mistyped", good[:40] + flip(good[40]) + good[41:], "cut off or mistyped"},
		{"hub link", s.hub.Link, "it is a hub link, not an invite"},
		{"used", used, "the invite has been used"},
		{"expired", s.invite(a, "--expires", "1ms"), "the invite has expired"},
		{"other secret", unknown.Token(), "nobody keeps this invite"},
		{"another hub's", foreign.Token(), "nobody keeps this invite"},
	}
	host := s.place("public", "b")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := s.rig.Node(host)
			start := time.Now()
			_, err := b.Up(s.ctx, tt.invite)
			refused(t, err, tt.want)
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("refused after %v", took)
			}
			if _, err := os.Stat(filepath.Join(b.State(), "node.json")); err == nil {
				t.Error("left a node.json behind")
			}
		})
	}
	t.Run("still good", func(t *testing.T) {
		if _, err := s.rig.Node(host).Up(s.ctx, good); err != nil {
			t.Error(err)
		}
	})
}

// TestOtherHub: a machine that takes the hub's address is not taken for it.
func TestOtherHub(t *testing.T) {
	s := newSetup(t)
	invite, err := config.ParseInvite(s.create(s.rig.Node(s.place("public", "a"))))
	if err != nil {
		t.Fatal(err)
	}
	invite.Hub.Key[0] ^= 1
	p, err := s.rig.Node(s.place("public", "b")).StartUp(s.ctx, invite.Token())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "no connection to the hub, trying again: the hub says it is"); err != nil {
		t.Error(err)
	}
}

// TestKeeperAway: a joiner waits for the keeper of its invite, and says so.
func TestKeeperAway(t *testing.T) {
	s := newSetup(t)
	a, b, p := s.waitingJoiner()
	if _, err := a.Up(s.ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "admitted to home by a as b"); err != nil {
		t.Fatal(err)
	}
	if err := b.FirstPing(s.ctx, address(0)); err != nil {
		t.Error(err)
	}
}

// TestInterruptedJoin: a machine killed while it waits goes on where it was,
// and its invite is not lost.
func TestInterruptedJoin(t *testing.T) {
	s := newSetup(t)
	a, b, p := s.waitingJoiner()
	p.Signal(os.Kill)
	p.Wait()
	if _, err := a.Up(s.ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Up(s.ctx); err != nil { // without the invite: it is kept
		t.Fatal(err)
	}
	if err := b.FirstPing(s.ctx, address(0)); err != nil {
		t.Error(err)
	}
}

// waitingJoiner has b wait for a, who made the network and went down.
func (s *setup) waitingJoiner() (a, b *Node, p *Process) {
	s.t.Helper()
	a, b = s.rig.Node(s.place("port", "a")), s.rig.Node(s.place("port", "b"))
	invite := s.create(a)
	if _, err := a.Run(s.ctx, "down"); err != nil {
		s.t.Fatal(err)
	}
	p, err := b.StartUp(s.ctx, invite)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := p.Expect(s.ctx, "waiting for a, who keeps this invite"); err != nil {
		s.t.Fatal(err)
	}
	return a, b, p
}

// create makes the network on a node and returns the invite it prints.
func (s *setup) create(n *Node, args ...string) string {
	s.t.Helper()
	invite, err := n.Up(s.ctx, append(args, "--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String())...)
	if err != nil {
		s.t.Fatal(err)
	}
	return invite
}

func (s *setup) invite(n *Node, args ...string) string {
	s.t.Helper()
	token, err := n.Run(s.ctx, append([]string{"invite"}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// refused checks that a command failed with exit code 1 and one clear line,
// besides a hint.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	var failed *CommandError
	if !errors.As(err, &failed) || failed.ExitCode() != 1 {
		t.Errorf("got %v, want exit code 1", err)
		return
	}
	lines := 0
	for line := range strings.Lines(failed.Stderr) {
		if strings.HasPrefix(line, "p2ptun: error: ") && strings.Contains(line, want) {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("%d error lines with %q in:\n%s", lines, want, failed.Stderr)
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}
