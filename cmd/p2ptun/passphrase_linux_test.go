package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is a pseudoterminal with the real command on it.
type terminal struct {
	t    *testing.T
	user *os.File // what the user has of it
	said strings.Builder
	cmd  *exec.Cmd
}

// onTerminal starts the command with a terminal of its own, and stdin that is
// none.
func onTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	t.Cleanup(func() { user.Close() })
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	defer tty.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Args[0] = program
	cmd.Stderr = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 2}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &terminal{t: t, user: user, cmd: cmd}
}

// answer waits for a prompt and types a line.
func (tm *terminal) answer(prompt, line string) {
	tm.t.Helper()
	one := make([]byte, 1)
	for !strings.HasSuffix(tm.said.String(), prompt) {
		if _, err := tm.user.Read(one); err != nil {
			tm.t.Fatalf("no prompt %q in %q: %v", prompt, tm.said.String(), err)
		}
		tm.said.Write(one)
	}
	if _, err := tm.user.WriteString(line); err != nil {
		tm.t.Fatal(err)
	}
}

// end reads the rest and returns the exit code, and all that was on the screen.
func (tm *terminal) end() (code int, screen string) {
	tm.t.Helper()
	for s := bufio.NewScanner(tm.user); s.Scan(); { // fails when the other end is gone
		tm.said.WriteString(s.Text() + "\n")
	}
	tm.cmd.Wait()
	return tm.cmd.ProcessState.ExitCode(), tm.said.String()
}

// TestPassphraseOnTerminal: asked twice for a new backup, once for an old one,
// never shown; an interrupt leaves the terminal as it was.
func TestPassphraseOnTerminal(t *testing.T) {
	k := newKeyFiles(t)
	k.create("first")
	where := func(state string, args ...string) []string {
		return append([]string{"network", "--socket", k.path("none.sock"), "--state", k.path(state)}, args...)
	}
	const prompt, again, old = "(leave empty to have one made): ", "the same again: ", "passphrase of the backup: "

	tm := onTerminal(t, where("first", "export-key", k.path("a.age"))...)
	tm.answer(prompt, "secret words\n")
	tm.answer(again, "secret words\n")
	if code, screen := tm.end(); code != 0 || strings.Contains(screen, "secret") {
		t.Fatalf("exit code %d, screen %q", code, screen)
	}
	tm = onTerminal(t, where("second", "import-key", k.path("a.age"), "--name", "second")...)
	tm.answer(old, "secret words\n")
	if code, screen := tm.end(); code != 0 || strings.Contains(screen, "secret") {
		t.Fatalf("exit code %d, screen %q", code, screen)
	}

	tm = onTerminal(t, where("first", "export-key", k.path("b.age"))...)
	tm.answer(prompt, "secret words\n")
	tm.answer(again, "secret word\n")
	if code, screen := tm.end(); code != 1 || !strings.Contains(screen, "the two passphrases are not the same") || !missing(k.path("b.age")) {
		t.Errorf("exit code %d, screen %q", code, screen)
	}

	tm = onTerminal(t, where("first", "export-key", k.path("c.age"))...)
	tm.answer(prompt, "\n")
	code, screen := tm.end()
	_, made, found := strings.Cut(screen, "passphrase, to be written down: ")
	if made, _, _ = strings.Cut(strings.ReplaceAll(made, "\r", ""), "\n"); code != 0 || !found {
		t.Fatalf("exit code %d, screen %q", code, screen)
	}
	tm = onTerminal(t, where("third", "import-key", k.path("c.age"), "--name", "third")...)
	tm.answer(old, made+"\n")
	if code, screen := tm.end(); code != 0 {
		t.Errorf("with the passphrase that was made: exit code %d, screen %q", code, screen)
	}

	tm = onTerminal(t, where("first", "export-key", k.path("d.age"))...)
	tm.answer(prompt, "half\x03")
	if code, screen := tm.end(); code != 1 || strings.Contains(screen, "half") || !missing(k.path("d.age")) {
		t.Errorf("interrupted: exit code %d, screen %q", code, screen)
	}
}

// TestNoTerminal: without a terminal a file is the way.
func TestNoTerminal(t *testing.T) {
	k := newKeyFiles(t)
	k.create("first")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "network", "export-key", "--socket", k.path("none.sock"), "--state", k.path("first"))
	cmd.Args[0] = program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.CombinedOutput()
	want := "p2ptun: error: there is no terminal to ask for the passphrase\np2ptun: hint: put it into a file and give that with --passphrase-file FILE\n"
	if err == nil || string(out) != want {
		t.Errorf("got %v, %q, want %q", err, out, want)
	}
}
