package config

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func openTestDir(t *testing.T) *Dir {
	t.Helper()
	d, err := OpenDir(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// list is what the directory holds, content included.
func list(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		content := []byte("(directory)")
		if !e.IsDir() {
			if content, err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintf(&b, "%s %v: %s\n", e.Name(), e.Type(), content)
	}
	return b.String()
}

// The test binary runs itself as a second process; these say as what.
const (
	childEnv = "P2PTUN_TEST_CHILD"
	dirEnv   = "P2PTUN_TEST_DIR"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		child(role, os.Getenv(dirEnv))
	}
	os.Exit(m.Run())
}

// child never returns.
func child(role, path string) {
	d, err := OpenDir(path)
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(3)
	}
	fmt.Println("held")
	switch role {
	case "hold":
		io.Copy(io.Discard, os.Stdin)
	case "disk full":
		signal.Ignore(unix.SIGXFSZ) // a write beyond the limit fails then
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100, Max: 100}); err != nil {
			fmt.Println("limit:", err)
			os.Exit(4)
		}
		fmt.Println("saved:", d.SaveMembers(Members{Statements: [][]byte{make([]byte, 10_000)}}))
	}
	os.Exit(0)
}

func startChild(t *testing.T, role, dir string) (*exec.Cmd, io.Closer, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+role, dirEnv+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, in, bufio.NewReader(out)
}

func readLine(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("child said %q, %v", line, err)
	}
	return strings.TrimSpace(line)
}

func TestDirIsHeldByOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	for _, end := range []string{"exit", "kill"} {
		cmd, in, out := startChild(t, "hold", path)
		if got := readLine(t, out); got != "held" {
			t.Fatalf("child: %s", got)
		}
		d, err := OpenDir(path)
		if !errors.Is(err, ErrInUse) {
			t.Fatalf("open beside the child: %v, %v, want ErrInUse", d, err)
		}
		if !strings.Contains(err.Error(), path) || !strings.Contains(HintOf(err), "p2ptun down") {
			t.Errorf("error %q, hint %q: want the path, and a way out", err, HintOf(err))
		}
		if end == "exit" {
			in.Close()
		} else if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if d, err = OpenDir(path); err != nil {
			t.Fatalf("after %s of the child: %v", end, err)
		}
		cmd, _, out = startChild(t, "hold", path)
		if got := readLine(t, out); !strings.HasPrefix(got, "refused: ") || !strings.Contains(got, ErrInUse.Error()) {
			t.Errorf("second process: %s", got)
		}
		cmd.Wait()
		d.Close()
	}
}

func TestDirOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	path := t.TempDir()
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	_, err := OpenDir(path)
	if err == nil || !strings.Contains(err.Error(), "belongs to user 65534, not to user 0") || HintOf(err) == "" {
		t.Errorf("error %v, hint %q", err, HintOf(err))
	}
	if got := list(t, path); got != "" {
		t.Errorf("it was changed: %s", got)
	}
}

func TestDirThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if _, err := OpenDir(path); err == nil || HintOf(err) == "" {
			t.Errorf("%s: error %v, hint %q", path, err, HintOf(err))
		}
	}
}

func TestModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	d := openTestDir(t)
	saveAll(t, d)
	want := map[string]fs.FileMode{".": 0o700 | fs.ModeDir, lockFile: 0o600, nodeFile: 0o600, membersFile: 0o600, invitesFile: 0o600, keysFile: 0o600}
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(d.Path(), name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), mode)
		}
	}
	if err := os.Chmod(filepath.Join(d.Path(), nodeFile), 0o644); err != nil {
		t.Fatal(err)
	}
	saveAll(t, d)
	if info, _ := os.Stat(filepath.Join(d.Path(), nodeFile)); info.Mode() != 0o600 {
		t.Errorf("written again it has mode %v", info.Mode())
	}
}

func TestFailedWriteKeepsTheOldContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	saveAll(t, d)
	d.Close()
	before := list(t, path)

	cmd, _, out := startChild(t, "disk full", path)
	readLine(t, out)
	if got := readLine(t, out); !strings.Contains(got, "too large") {
		t.Errorf("child %s, want a failure", got)
	}
	cmd.Wait()
	if got := list(t, path); got != before {
		t.Errorf("after a failed write\n%s\nwant\n%s", got, before)
	}

	// A crash leaves a part of the file under another name; the next start
	// removes it, and nothing else.
	for _, name := range []string{nodeFile, membersFile, invitesFile, keysFile, "link"} {
		f, err := os.CreateTemp(path, TempPattern(name))
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString("{")
		f.Close()
	}
	if list(t, path) == before {
		t.Fatal("nothing to remove")
	}
	if d, err = OpenDir(path); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := list(t, path); got != before {
		t.Errorf("after a crash in a write and a new start\n%s\nwant\n%s", got, before)
	}
}

func TestFailedRenameLeavesNothing(t *testing.T) {
	d := openTestDir(t)
	if err := os.MkdirAll(filepath.Join(d.Path(), membersFile, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := list(t, d.Path())
	if err := d.SaveMembers(Members{Sequence: 7}); err == nil {
		t.Error("saved over a directory")
	}
	if got := list(t, d.Path()); got != before {
		t.Errorf("left behind\n%s\nwant\n%s", got, before)
	}
	if err := WriteFile(filepath.Join(d.Path(), "nowhere", "file"), nil); err == nil {
		t.Error("wrote into a directory that is not there")
	}
}
