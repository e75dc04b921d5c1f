package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"golang.org/x/sys/unix"
)

// commandTimeout is when a command in the lab counts as hanging.
const commandTimeout = 30 * time.Second

// machine is a host of a lab with the real command on it.
type machine struct {
	t    *testing.T
	host *natlab.Host
	exe  string // the command
	dir  string // for state and socket
	as   uint32 // user to run as; 0 is root
}

// newLab makes a lab that lives as long as the test, or skips it.
func newLab(t *testing.T) *natlab.Lab {
	t.Helper()
	if err := natlab.Available(); err != nil {
		t.Skip("no lab here: ", err)
	}
	lab, err := natlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	return lab
}

// newTunnelLab makes a lab in which nodes can run, or skips the test.
func newTunnelLab(t *testing.T) *natlab.Lab {
	t.Helper()
	if err := natlab.TUNAvailable(); err != nil {
		t.Skip("no tunnel here: ", err)
	}
	return newLab(t)
}

func newMachine(t *testing.T, lab *natlab.Lab, name string) *machine {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, host: natlab.Must(lab.PublicHost(name)), exe: exe, dir: t.TempDir()}
	t.Cleanup(func() { // before the directory goes, which it writes to
		for pid, _ := m.daemon(); pid != 0; pid, _ = m.daemon() {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	})
	return m
}

func (m *machine) state() string  { return filepath.Join(m.dir, "state") }
func (m *machine) socket() string { return filepath.Join(m.dir, "p2ptun.sock") }

// args says where the machine has its state and socket; what comes after may
// say otherwise.
func (m *machine) args(args []string) []string {
	where := []string{args[0], "--socket", m.socket()}
	switch args[0] {
	case "up":
		where = append(where, "--name", m.host.Name(), "--state", m.state())
	case "leave":
		where = append(where, "--state", m.state())
	}
	return append(where, args[1:]...)
}

func (m *machine) command(args ...string) *natlab.Cmd {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), commandTimeout)
	m.t.Cleanup(cancel)
	cmd := m.host.Command(ctx, m.exe, args...)
	cmd.Args[0] = program
	cmd.Env = append(os.Environ(), "GORACE="+noExitDelay)
	if m.as != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: m.as, Gid: m.as}}
	}
	return cmd
}

// run runs a command to its end: of its process and of its output, which
// nothing that it leaves behind may hold open.
func (m *machine) run(args ...string) (code int, stdout, stderr string) {
	m.t.Helper()
	var out, errs bytes.Buffer
	cmd := m.command(m.args(args)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatalf("p2ptun %s: %v\n%s", args[0], err, errs.String())
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// must runs a command that has to succeed, and returns its answer and its talk.
func (m *machine) must(args ...string) (stdout, stderr string) {
	m.t.Helper()
	code, stdout, stderr := m.run(args...)
	if code != 0 {
		m.t.Fatalf("%s: p2ptun %s: exit code %d\n%s", m.host.Name(), args[0], code, stderr)
	}
	return strings.TrimSpace(stdout), stderr
}

// refuses runs a command that has to fail with one line that holds want.
func (m *machine) refuses(want string, args ...string) {
	m.t.Helper()
	code, stdout, stderr := m.run(args...)
	if code != 1 || stdout != "" || !strings.Contains(stderr, want) {
		m.t.Errorf("p2ptun %s: exit code %d, stdout %q, stderr %q; want 1 and %q", args[0], code, stdout, stderr, want)
	}
	if err := oneLine(stderr); err != nil {
		m.t.Error(err)
	}
}

// running is a command that has been started.
type running struct {
	*natlab.Cmd
	lines *bufio.Scanner // of stdout and stderr
}

// start starts a command; its output has to be read by expect or rest.
func (m *machine) start(args ...string) *running {
	m.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { r.Close() })
	cmd := m.command(args...)
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		m.t.Fatal(err)
	}
	return &running{cmd, bufio.NewScanner(r)}
}

// expect reads up to the line that begins with prefix, and returns the rest
// of that line.
func (r *running) expect(prefix string) (string, error) {
	var seen []string
	for r.lines.Scan() {
		if rest, ok := strings.CutPrefix(r.lines.Text(), prefix); ok {
			return rest, nil
		}
		seen = append(seen, r.lines.Text())
	}
	return "", fmt.Errorf("no line %q in\n%s", prefix, strings.Join(seen, "\n"))
}

// end waits for the end of the command and returns the output not yet read.
func (r *running) end() (code int, output string) {
	var lines []string
	for r.lines.Scan() {
		lines = append(lines, r.lines.Text())
	}
	r.Wait()
	return r.ProcessState.ExitCode(), strings.Join(lines, "\n")
}

// startHub runs a hub on a new host and returns its link.
func startHub(t *testing.T, lab *natlab.Lab) string {
	t.Helper()
	m := newMachine(t, lab, "hub")
	hub := m.start("hub", "--print-link", "--state", m.state())
	link, err := hub.expect("hub link: ")
	if err != nil {
		t.Fatal(err)
	}
	return link
}
