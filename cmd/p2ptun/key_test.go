package main

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
)

func testBackup() *config.Backup {
	return &config.Backup{
		Key: config.NewNetworkKey(), NetworkName: "home", Prefix: netip.MustParsePrefix("10.77.0.0/16"),
		Hub: testHub(), Statements: [][]byte{[]byte("statement")},
	}
}

// keyFiles is a directory with a passphrase in it, and another.
type keyFiles struct {
	t   *testing.T
	dir string
}

func newKeyFiles(t *testing.T) *keyFiles {
	k := &keyFiles{t, t.TempDir()}
	k.write("passphrase", "correct horse\nbattery\n")
	k.write("wrong", "correct pony\n")
	k.write("empty", "\n")
	return k
}

func (k *keyFiles) path(name string) string { return filepath.Join(k.dir, name) }

func (k *keyFiles) write(name, text string) {
	k.t.Helper()
	if err := os.WriteFile(k.path(name), []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// network runs `network` for a node that does not run.
func (k *keyFiles) network(state string, args ...string) (code int, stdout, stderr string) {
	k.t.Helper()
	e, out, errs := capture(k.t)
	code = run(e, append([]string{"network", "--socket", k.path("none.sock"), "--state", k.path(state), "--passphrase-file", k.path("passphrase")}, args...))
	return code, out.String(), errs.String()
}

// refuses runs it where it has to fail with one line that holds want.
func (k *keyFiles) refuses(want, state string, args ...string) {
	k.t.Helper()
	code, stdout, stderr := k.network(state, args...)
	if code != 1 || stdout != "" || !strings.Contains(stderr, want) {
		k.t.Errorf("network %v: exit code %d, stdout %q, stderr %q; want 1 and %q", args, code, stdout, stderr, want)
	}
	if err := oneLine(stderr); err != nil {
		k.t.Error(err)
	}
}

// create stores the creator of a network in a state directory.
func (k *keyFiles) create(state string) *config.Node {
	k.t.Helper()
	node, err := tunnel.CreateNetwork("home", "first", netip.MustParsePrefix("10.77.0.0/16"), testLink())
	if err != nil {
		k.t.Fatal(err)
	}
	k.store(state, node)
	return node
}

func (k *keyFiles) store(state string, node *config.Node) {
	k.t.Helper()
	dir, err := config.OpenDir(k.path(state))
	if err != nil {
		k.t.Fatal(err)
	}
	defer dir.Close()
	if err := dir.SaveNode(node); err != nil {
		k.t.Fatal(err)
	}
}

func (k *keyFiles) load(state string) *config.Node {
	k.t.Helper()
	dir, err := config.OpenDir(k.path(state))
	if err != nil {
		k.t.Fatal(err)
	}
	defer dir.Close()
	node, err := dir.LoadNode()
	if err != nil {
		k.t.Fatal(err)
	}
	return node
}

// cheap is the path of a backup of a node, as export-key makes it but for the
// second that each try of its passphrase takes.
func (k *keyFiles) cheap(state string, node *config.Node) string {
	k.t.Helper()
	dir, err := config.OpenDir(k.path(state))
	if err != nil {
		k.t.Fatal(err)
	}
	defer dir.Close()
	b, err := tunnel.ExportStored(dir, node)
	if err != nil {
		k.t.Fatal(err)
	}
	plain, err := b.Marshal()
	if err != nil {
		k.t.Fatal(err)
	}
	r, err := age.NewScryptRecipient("correct horse")
	if err != nil {
		k.t.Fatal(err)
	}
	r.SetWorkFactor(10)
	var file bytes.Buffer
	text := armor.NewWriter(&file)
	w, err := age.Encrypt(text, r)
	if err != nil {
		k.t.Fatal(err)
	}
	w.Write(plain)
	w.Close()
	text.Close()
	k.write("cheap.age", file.String())
	return k.path("cheap.age")
}

// TestKeyOfStoppedNode: export and import work on state directories, and what
// does not fit is refused and changes nothing.
func TestKeyOfStoppedNode(t *testing.T) {
	k := newKeyFiles(t)
	creator := k.create("first")
	backup := k.path("backup.age")

	if code, stdout, stderr := k.network("first", "export-key", backup); code != 0 || stdout != "" || !strings.HasPrefix(stderr, "wrote the key of the network home to "+backup) {
		t.Fatalf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if info, err := os.Stat(backup); err != nil || info.Mode() != 0o600 {
		t.Errorf("the backup has mode %v, %v", info.Mode(), err)
	}
	k.refuses("is there already, and is not overwritten", "first", "export-key", backup)
	text, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	cheap := k.cheap("first", creator)
	k.write("cut.age", string(text[:len(text)/2]))
	bent, err := os.ReadFile(cheap)
	if err != nil {
		t.Fatal(err)
	}
	k.write("bent.age", strings.Replace(string(bent), string(bent[600:604]), "AAAA", 1))
	k.write("other.age", "hello\n")

	t.Run("refused", func(t *testing.T) {
		k.t = t
		k.refuses("the passphrase is not this backup's", "fresh", "import-key", cheap, "--passphrase-file", k.path("wrong"))
		k.refuses("its first line is empty", "fresh", "import-key", cheap, "--passphrase-file", k.path("empty"))
		for _, file := range []string{"cut.age", "bent.age", "other.age"} {
			k.refuses("the backup is damaged", "fresh", "import-key", k.path(file))
		}
		k.refuses("no such file", "fresh", "import-key", k.path("none.age"))
		k.refuses("in no network yet", "fresh", "export-key")
		if !missing(k.path("fresh")) {
			t.Error("a refused import made state")
		}
	})
	t.Run("another network", func(t *testing.T) {
		k.t = t
		other := k.create("other")
		k.refuses("this machine belongs to another", "other", "import-key", cheap)
		if now := k.load("other"); !bytes.Equal(now.Creator.Seed(), other.Creator.Seed()) {
			t.Error("its key was replaced")
		}
	})
	t.Run("joining", func(t *testing.T) {
		k.t = t
		invite := testInvite()
		invite.Network = creator.Network
		k.store("joining", prepare(t, invite))
		k.refuses("still waits to be admitted", "joining", "import-key", cheap)
		k.refuses("only a machine that holds the network's key can do this", "joining", "export-key")
	})
	t.Run("fresh", func(t *testing.T) {
		k.t = t
		e, out, errs := capture(t)
		e.stdin = bytes.NewReader(text)
		args := []string{"network", "import-key", "-", "--name", "first", "--socket", k.path("none.sock"), "--state", k.path("fresh"), "--passphrase-file", k.path("passphrase")}
		if code := run(e, args); code != 0 || out.Len() > 0 || !strings.Contains(errs.String(), "it is the member first-2, `p2ptun up` brings it up") {
			t.Fatalf("exit code %d, stdout %q, stderr %q", code, out, errs)
		}
		node := k.load("fresh")
		if node.Network != creator.Network || !bytes.Equal(node.Creator.Seed(), creator.Creator.Seed()) || node.Discovery != creator.Discovery ||
			!bytes.Equal(node.Access, creator.Access) || !node.Hub.Equal(creator.Hub) || node.Prefix != creator.Prefix || node.Key.Public() == creator.Key.Public() {
			t.Errorf("restored %+v", node)
		}
		if code, _, stderr := k.network("fresh", "import-key", cheap); code != 0 || !strings.HasPrefix(stderr, "this machine holds the key of the network home now") {
			t.Errorf("the same again: exit code %d, %q", code, stderr)
		}
	})
}

// TestKeyOfRunningNode: the node answers, and its state directory, which it
// holds, is left alone.
func TestKeyOfRunningNode(t *testing.T) {
	k := newKeyFiles(t)
	node := &fakeNode{offline: true}
	s := serve(t, node)
	code, stdout, stderr := s.command(t, "network", "export-key", "--passphrase-file", k.path("passphrase"))
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "-----BEGIN AGE ENCRYPTED FILE-----\n") {
		t.Fatalf("exit code %d, stdout %.40q, stderr %q", code, stdout, stderr)
	}
	k.write("backup.age", stdout)
	code, _, stderr = s.command(t, "network", "import-key", k.path("backup.age"), "--passphrase-file", k.path("passphrase"))
	want := "this machine holds the key of the network home now: it admits, revokes, and makes admins\n" +
		"p2ptun: warning: this machine is not connected to the hub; the other members hear of this once it is\n"
	if code != 0 || stderr != want {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if b, ok := node.asked[0].(*config.Backup); !ok || b.NetworkName != "home" || b.Key.IsZero() {
		t.Errorf("asked for %v", node.asked)
	}
}

// TestStatusOfRevoked: where no node runs because the machine was thrown out,
// `status` says that.
func TestStatusOfRevoked(t *testing.T) {
	k := newKeyFiles(t)
	node := k.create("first")
	k.write("p2ptun.toml", "state = \""+k.path("first")+"\"\nsocket = \""+k.path("none.sock")+"\"\n")
	status := func() string {
		e, _, errs := capture(t)
		if code := run(e, []string{"status", "--config", k.path("p2ptun.toml")}); code != 1 {
			t.Errorf("exit code %d", code)
		}
		return errs.String()
	}
	if text := status(); !strings.HasPrefix(text, "p2ptun: error: p2ptun is not running ") {
		t.Errorf("stopped: %s", text)
	}
	revocation, err := signaling.NetworkAdmin(*node.Creator).Revoke(node.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	dir, err := config.OpenDir(k.path("first"))
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.SaveMembers(config.Members{Statements: [][]byte{revocation.Bytes()}}); err != nil {
		t.Fatal(err)
	}
	dir.Close()
	if text := status(); !strings.HasPrefix(text, "p2ptun: error: an admin has removed this machine from the network\n") {
		t.Errorf("revoked: %s", text)
	}
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
