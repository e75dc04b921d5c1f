package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

func TestReport(t *testing.T) {
	c := command{name: "up", forms: []string{"[INVITE]", "--new NAME"}, text: "bring up", more: "More.\n"}
	for _, tt := range []struct {
		name           string
		err            error
		code           int
		stdout, stderr string
	}{
		{"done", nil, 0, "", ""},
		{"help", &helpRequest{"  --flag\n"}, 0, "usage: p2ptun up [INVITE]\n       p2ptun up --new NAME\n\nbring up\n\nMore.\n\n  --flag\n", ""},
		{"usage", usagef("bad %d", 7), 2, "", "p2ptun: error: up: bad 7\np2ptun: hint: `p2ptun up --help` shows its flags\n"},
		{"failed", errors.New("no luck"), 1, "", "p2ptun: error: no luck\n"},
		{"hint", fmt.Errorf("a: %w", config.WithHint(errors.New("b"), "try c")), 1, "", "p2ptun: error: a: b\np2ptun: hint: try c\n"},
		{"two errors, one line", errors.Join(errors.New("a"), errors.New("b")), 1, "", "p2ptun: error: a; b\n"},
		{"told already", &reportedError{2}, 2, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, stdout, stderr := capture(t)
			if code := report(e, c, tt.err); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if stdout.String() != tt.stdout || stderr.String() != tt.stderr {
				t.Errorf("stdout %q, stderr %q, want %q, %q", stdout, stderr, tt.stdout, tt.stderr)
			}
		})
	}
}
