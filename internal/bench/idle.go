package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// idleTest measures a node that knows a thousand idle members, and says so in
// a line of its own.
const idleTest = "TestThousandIdle"

var idleLine = regexp.MustCompile(`thousand idle: ((?:\w+=\S+ ?)+)`)

// runIdle returns what the test measured. That the test fails is no error if
// it got so far: the figures say by how much.
func runIdle(ctx context.Context) ([]fact, error) {
	out, err := exec.CommandContext(ctx, "go", "test", "github.com/p2ptun/p2ptun/internal/e2e", "-run", "^"+idleTest+"$", "-v").CombinedOutput()
	found := parseIdle(string(out))
	if len(found) > 0 || strings.Contains(string(out), "no tests to run") {
		return found, nil
	}
	return nil, errors.Join(err, fmt.Errorf("%s has measured nothing:\n%s", idleTest, out))
}

// parseIdle reads name=value pairs.
func parseIdle(out string) (found []fact) {
	m := idleLine.FindStringSubmatch(out)
	if m == nil {
		return nil
	}
	for pair := range strings.FieldsSeq(m[1]) {
		name, value, _ := strings.Cut(pair, "=")
		found = append(found, fact{name, value})
	}
	return found
}
