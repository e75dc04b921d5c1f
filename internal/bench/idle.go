package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// idleTest measures a node that knows a thousand idle members.
const idleTest = "TestThousandIdle"

// testLog is how `go test -v` shows what a test logs.
var testLog = regexp.MustCompile(`^\s+\w+_test\.go:\d+: (.*)$`)

// runIdle returns what the test says, nothing if there is none.
func runIdle(ctx context.Context) (said []string, err error) {
	const pkg = "github.com/p2ptun/p2ptun/internal/e2e"
	out, err := exec.CommandContext(ctx, "go", "test", pkg, "-list", "^"+idleTest+"$").Output()
	if err != nil || !strings.Contains(string(out), idleTest) {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", pkg, "-run", "^"+idleTest+"$", "-v")
	if out, err = cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if m := testLog.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			said = append(said, m[1])
		}
	}
	return said, nil
}
