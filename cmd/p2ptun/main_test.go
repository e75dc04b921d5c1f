package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/rogpeppe/go-internal/testscript"
)

// program is the name under which the test binary is the real command.
const program = "p2ptun"

// noExitDelay for the race detector: without it each command takes a second.
const noExitDelay = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != program {
		if err := natlab.Enter(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	testscript.Main(m, map[string]func(){program: main})
}

// TestScript runs testdata: what the command says and how it exits where no
// network is needed. None of them gets as far as making an interface.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"fails": fails},
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", noExitDelay)
			env.Setenv("INVITE", testInvite().Token())
			env.Setenv("HUB_LINK", testLink().Token())
			return nil
		},
	})
}

// fails is a script command: fails CODE ARG… runs p2ptun, which has to exit
// with that code, to print no answer, and one line of error with at most one
// of hint.
func fails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: fails CODE ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(program, args[1:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != want {
		ts.Fatalf("p2ptun: %v, want exit status %d", err, want)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("on stdout: %q", out)
	}
	if err := oneLine(ts.ReadFile("stderr")); err != nil {
		ts.Fatalf("%v", err)
	}
}

// oneLine checks that a failure is told in one line, with at most one of hint.
func oneLine(stderr string) error {
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	if !strings.HasPrefix(lines[0], errorMark) || len(lines) > 2 ||
		len(lines) == 2 && !strings.HasPrefix(lines[1], "p2ptun: hint: ") {
		return fmt.Errorf("want one line of error and at most one of hint, got:\n%s", stderr)
	}
	return nil
}

// testHub is a hub that does not exist.
func testHub() config.Hub {
	return config.Hub{URLs: []string{"ws://192.0.2.1:443"}, Key: config.NewHubKey().Public()}
}

func testLink() config.HubLink {
	return config.HubLink{Hub: testHub(), Access: [config.AccessSize]byte{1, 2, 3}}
}

func testInvite() config.Invite {
	return config.Invite{
		Hub: testHub(), Network: config.NewNetworkKey().Public(), Secret: [config.SecretSize]byte{1, 2, 3},
		Keeper: config.NewNodeKey().Public(), KeeperWG: config.NewWireGuardKey().Public(),
	}
}

// capture is an env whose output is kept.
func capture(t *testing.T) (e env, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return env{ctx: t.Context(), stdin: strings.NewReader(""), stdout: stdout, stderr: stderr}, stdout, stderr
}
