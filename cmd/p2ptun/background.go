package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/sys/unix"
)

// `up` starts itself once more, in a session of its own, and shows what that
// process says until it is up:
//
//	up ── stdin: the invite or hub link ──► up --foreground (P2PTUN_BACKGROUND)
//	   ◄── fd 3: output, then readyMark ──
//
// A secret given as an argument so does not stay in the process list.
const (
	backgroundEnv = "P2PTUN_BACKGROUND"
	backgroundFD  = 3
	readyMark     = "\x00ready"
)

// upBackground starts the node and returns when it is up.
func upBackground(e env, o *upOptions, t tokens) error {
	cmd, err := backgroundCommand(o, t)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w} // becomes backgroundFD
	cmd.Stderr = w                 // of a crash, until the log file is open
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start the background process: %w", err)
	}
	// An interrupted `up` takes back what it began.
	finish := context.AfterFunc(e.ctx, func() { cmd.Process.Signal(unix.SIGTERM) })
	up, told := relayOutput(e, r)
	if up && finish() {
		return nil
	}
	return endError(e, cmd.Wait(), told, o.logPath())
}

// backgroundCommand is the process that stays. It keeps nothing of this one:
// no open file, no working directory, no terminal.
func backgroundCommand(o *upOptions, t tokens) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args, secret, err := childArgs(o, t)
	if err != nil {
		return nil, err
	}
	closeInherited()
	cmd := exec.Command(exe, args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), backgroundEnv+"=1")
	cmd.Dir = "/"
	cmd.Stdin = strings.NewReader(secret)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, nil
}

// childArgs are the arguments of the process that stays: all that was settled
// here, files by absolute names, and for its standard input what is secret.
func childArgs(o *upOptions, t tokens) (args []string, secret string, err error) {
	args = []string{"up", "--foreground",
		"--interface", o.Interface, "--port", fmt.Sprint(o.Port), fmt.Sprintf("--relay-only=%t", o.RelayOnly), fmt.Sprintf("--no-gso=%t", o.NoGSO), fmt.Sprintf("--no-lan=%t", o.NoLAN),
		"--relay", "", "--log-level", o.log.level, "--log-format", o.log.format}
	for _, f := range [][2]string{{"--state", o.State}, {"--socket", o.Socket}, {"--config", o.configFile}} {
		abs, err := filepath.Abs(f[1])
		if err != nil {
			return nil, "", err
		}
		args = append(args, f[0], abs)
	}
	if o.Name != "" {
		args = append(args, "--name", o.Name)
	}
	switch {
	case t.invite != nil:
		secret = t.invite.Token()
		args = append(args, "-")
	case t.link != nil:
		secret = t.link.Token()
		args = append(args, "--new", o.create, "--hub", "-")
		if o.prefix.IsValid() {
			args = append(args, "--prefix", o.prefix.String())
		}
	}
	if len(o.relays) > 0 {
		args = append(args, "--relay", "-")
		secret = joinRelays(secret, o.relays)
	}
	return args, secret, nil
}

// relayOutput shows the child's lines until it is up or has ended; told says
// that an error was among them. An invite is the answer; all else is talk.
func relayOutput(e env, r io.Reader) (up, told bool) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Text()
		switch {
		case line == readyMark:
			return true, told
		case isInvite(line):
			fmt.Fprintln(e.stdout, line)
		default:
			told = told || strings.HasPrefix(line, errorMark)
			fmt.Fprintln(e.stderr, line)
		}
	}
	return false, told
}

func isInvite(line string) bool {
	_, err := config.ParseInvite(line)
	return err == nil
}

// reportedError is an error that the child has told already.
type reportedError struct{ code int }

func (e *reportedError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// endError is what to say of a child that ended, as err has it, before it was
// up.
func endError(e env, err error, told bool, log string) error {
	var exit *exec.ExitError
	switch {
	case e.ctx.Err() != nil:
		return e.ctx.Err()
	case told && errors.As(err, &exit):
		return &reportedError{max(exit.ExitCode(), exitFailed)}
	case err == nil:
		return errors.New("p2ptun was taken down before it was up")
	}
	return config.WithHint(fmt.Errorf("the background process ended before it was up: %w", err), "its log is "+log)
}
