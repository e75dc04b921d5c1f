package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// TestSecretsStayInside: the commands of a whole life, debug logs on, with an
// umask that forgives nothing. No key, password or invite stands in what they
// print, log or answer, in a command line or an environment; but the tokens
// where they are asked for. And nobody else may open any file or socket.
func TestSecretsStayInside(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	watch := watchProcesses(binary(t))
	c := capture(t, "port")
	d := c.rig.Node(c.place("public", "dogwood-daisy"))
	stdout, tokens := c.live(d)
	seen := watch.stop()

	all := append(c.secrets(), secretsOf(t, d)...)
	all = append(all, c.turnPasswords()...)
	all = append(all, c.hubSecrets()...)
	hunt(t, all, "the commands' answers", []byte(stdout))
	hunt(t, all, "what was said and logged", []byte(withoutLink(c.text()+d.Log())))
	for _, s := range seen {
		hunt(t, all, "a command line or environment", []byte(s))
	}
	checkModes(t, c.rig.Dir)

	// It would have been found: what is there is.
	invites := 0
	for _, q := range all {
		if q.what == "an invite's secret" && q.found([]byte(tokens)) != "" {
			invites++
		}
	}
	if invites != 3 {
		t.Errorf("%d invites found where they were printed, want 3", invites)
	}
	for _, want := range []string{"DEBUG", "join request answered", "path=direct"} {
		if !strings.Contains(c.text(), want) {
			t.Errorf("%q was not logged: what was searched?", want)
		}
	}
	if all := strings.Join(seen, "\n"); !strings.Contains(all, "--foreground") || !strings.Contains(all, "PATH=") {
		t.Errorf("the processes were not seen:\n%s", all)
	}

	// A token that the user did give as an argument goes with that command;
	// the process which stays has it no more.
	e := c.rig.Node(c.place("public", "elder-elm"))
	if _, err := e.Up(c.ctx, c.setup.invite(c.a)); err != nil {
		t.Fatal(err)
	}
	all = append(secretsOf(t, c.a), secretsOf(t, e)...) // with the newest invite's
	for _, s := range processes(binary(t)) {
		hunt(t, all, "a process that stays", []byte(s))
	}
}

// live runs the commands of a life, and returns their answers; those that are
// tokens apart.
func (c *captured) live(d *Node) (stdout, tokens string) {
	t := c.t
	run := func(n *Node, args ...string) string {
		t.Helper()
		out, err := n.Run(c.ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		stdout += out + "\n"
		return out
	}
	first := c.invite
	second, third := c.setup.invite(c.a), c.setup.invite(c.a, "--uses", "2", "--tag", "lab")
	tokens = strings.Join([]string{first, second, third}, "\n")

	cmd := d.Host.Command(c.ctx, c.rig.Bin, d.upArgs([]string{"-"})...)
	cmd.Stdin = strings.NewReader(second + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("up -: %v\n%s", err, out)
	}
	stdout += string(out)
	if err := d.FirstPing(c.ctx, address(0)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"status", c.b.Name}, {"nodes"}, {"nodes", "--json"}, {"ping", c.b.Name}} {
		run(c.a, args...)
	}
	run(c.b, "down")
	if _, err := c.b.Up(c.ctx); err != nil {
		t.Fatal(err)
	}
	stdout += c.mistakes(third)
	return stdout, tokens
}

// mistakes are commands that fail with a token; what they say comes back.
func (c *captured) mistakes(token string) (said string) {
	f := c.rig.Node(c.place("public", "fern-fig"))
	short := c.file("short", token[:len(token)-3])
	typo := c.file("typo", token[:len(token)-9]+flip(token[len(token)-9])+token[len(token)-8:])
	config := c.file("config.toml", "name = \"fern\"\ninvite = \""+token+"\"")
	for _, args := range [][]string{
		{"@" + short}, {"@" + typo},
		{"@" + c.file("used", c.invite)},
		{"@" + c.file("link", c.recorder.Link)},
		{"--new", "other", "--hub", "@" + c.file("invite", token)},
		{"--config", config},
		{"@" + filepath.Join(c.rig.Dir, "missing")},
	} {
		out, err := f.Up(c.ctx, args...)
		if err == nil {
			c.t.Errorf("up %q succeeded", args)
			continue
		}
		said += out + err.Error() + "\n"
	}
	return said
}

// hubSecrets are what the hub keeps in its database, and its link.
func (c *captured) hubSecrets() (all []quarry) {
	state := filepath.Join(c.rig.Dir, c.hubHost.Name())
	content, err := os.ReadFile(filepath.Join(state, "hub.db")) // the hub has it locked
	if err != nil {
		c.t.Fatal(err)
	}
	path := c.file("hub.db copy", string(content))
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		c.t.Fatal(err)
	}
	defer db.Close()
	db.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("hub")).ForEach(func(key, value []byte) error {
			all = append(all, secretBytes("the hub's "+string(key), append([]byte(nil), value...)))
			return nil
		})
	})
	link, err := config.ParseHubLink(c.hub.Link)
	if err != nil || len(all) < 2 {
		c.t.Fatalf("the hub has %d secrets: %v", len(all), err)
	}
	return append(all, secretBytes("the network access key", link.Access[:]))
}

// withoutLink leaves out the line that --print-link asks for.
func withoutLink(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "hub link: ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// checkModes looks at all that is below the directories in dir, and at sockets.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	count := map[fs.FileMode]int{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
		count[info.Mode().Type()]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count[fs.ModeDir] < 4 || count[fs.ModeSocket] < 3 || count[0] < 12 {
		t.Errorf("looked at %v", count)
	}
}

// watcher notes the command line and environment of each process that runs a
// program.
type watcher struct {
	end  context.CancelFunc
	done sync.WaitGroup
	seen map[string]bool
}

func watchProcesses(program string) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{end: cancel, seen: make(map[string]bool)}
	w.done.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, s := range processes(program) {
				w.seen[s] = true
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return w
}

// stop returns all that were seen.
func (w *watcher) stop() (all []string) {
	w.end()
	w.done.Wait()
	for s := range w.seen {
		all = append(all, s)
	}
	return all
}

// processes are the command lines and environments of those that run a program
// now.
func processes(program string) (all []string) {
	executables, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range executables {
		if target, err := os.Readlink(exe); err != nil || target != program {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(filepath.Dir(exe), "cmdline"))
		environ, err2 := os.ReadFile(filepath.Join(filepath.Dir(exe), "environ"))
		if err == nil && err2 == nil && len(cmdline) > 0 {
			all = append(all, fmt.Sprintf("%s\n%s", cmdline, environ))
		}
	}
	return all
}
