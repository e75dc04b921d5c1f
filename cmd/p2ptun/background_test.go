package main

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

// TestChildArgs holds that the process which stays reads the same options, by
// absolute names, and that no secret is among its arguments.
func TestChildArgs(t *testing.T) {
	invite, link := testInvite(), testLink()
	t.Chdir(t.TempDir())
	abs := func(name string) string {
		s, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, tt := range []struct {
		name   string
		o      upOptions
		t      tokens
		secret string
		check  func(*upOptions) bool
	}{
		{"plain", upOptions{}, tokens{}, "",
			func(c *upOptions) bool { return c.invite == "" && c.create == "" && c.hub == "" && c.Name == "" }},
		{"invite", upOptions{invite: invite.Token()}, tokens{invite: &invite}, invite.Token(),
			func(c *upOptions) bool { return c.invite == "-" && c.create == "" }},
		{"new", upOptions{create: "home", hub: "@link", prefix: netip.MustParsePrefix("10.77.0.0/16")}, tokens{link: &link}, link.Token(),
			func(c *upOptions) bool {
				return c.create == "home" && c.hub == "-" && c.prefix.String() == "10.77.0.0/16" && c.invite == ""
			}},
		{"relays", upOptions{relays: []config.Relay{{Host: "h", Transport: config.RelayUDP, Port: 1, Username: "u", Password: "hunter2"}}}, tokens{}, "turn:u:hunter2@h:1\n",
			func(c *upOptions) bool { return slices.Equal(c.Relay, []string{"", "-"}) }},
		{"invite and relays", upOptions{invite: invite.Token(), relays: []config.Relay{{Host: "h", Transport: config.RelayUDP, Port: 1}}}, tokens{invite: &invite}, invite.Token() + "\nturn:h:1\n",
			func(c *upOptions) bool { return c.invite == "-" && slices.Equal(c.Relay, []string{"", "-"}) }},
		{"name", upOptions{File: config.File{Name: "laptop", Port: 7, RelayOnly: true, NoGSO: true}}, tokens{}, "",
			func(c *upOptions) bool { return c.Name == "laptop" && c.Port == 7 && c.RelayOnly && c.NoGSO }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Interface, tt.o.State, tt.o.Socket, tt.o.configFile = "tun7", "st", "so", config.DefaultFile
			tt.o.log = logFlags{"debug", "json"}
			args, secret, err := childArgs(&tt.o, tt.t)
			if err != nil {
				t.Fatal(err)
			}
			if secret != tt.secret {
				t.Errorf("secret %q, want %q", secret, tt.secret)
			}
			if secret != "" && slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, secret) }) {
				t.Errorf("the secret is among the arguments: %q", args)
			}
			if args[0] != "up" {
				t.Fatalf("command %q", args[0])
			}
			child, err := parseUp(args[1:])
			if err != nil {
				t.Fatal(err)
			}
			if child.Interface != "tun7" || child.State != abs("st") || child.Socket != abs("so") || child.log != tt.o.log ||
				child.configFile != config.DefaultFile || !child.foreground || !tt.check(child) {
				t.Errorf("%q is read as %+v", args, child)
			}
		})
	}
}

func TestRelayOutput(t *testing.T) {
	invite := testInvite().Token()
	for _, tt := range []struct {
		name     string
		in       string
		up, told bool
		stdout   string
		stderr   string
	}{
		{"up", "joining\n" + readyMark + "\nlater\n", true, false, "", "joining\n"},
		{"an invite is the answer", "take this:\n" + invite + "\n" + readyMark + "\n", true, false, invite + "\n", "take this:\n"},
		{"refused", "joining\n" + errorMark + "no\np2ptun: hint: go\n", false, true, "", "joining\n" + errorMark + "no\np2ptun: hint: go\n"},
		{"crashed", "panic: x\n", false, false, "", "panic: x\n"},
		{"said nothing", "", false, false, "", ""},
		{"cut off", "join", false, false, "", "join\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, stdout, stderr := capture(t)
			up, told := relayOutput(e, strings.NewReader(tt.in))
			if up != tt.up || told != tt.told {
				t.Errorf("up %t, told %t, want %t, %t", up, told, tt.up, tt.told)
			}
			if stdout.String() != tt.stdout || stderr.String() != tt.stderr {
				t.Errorf("stdout %q, stderr %q, want %q, %q", stdout, stderr, tt.stdout, tt.stderr)
			}
		})
	}
}

// TestEndError holds that whoever runs `up` is told once, and only once, why
// it is not up.
func TestEndError(t *testing.T) {
	exit := func(script string) error { return exec.Command("/bin/sh", "-c", script).Run() }
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		err    error
		told   bool
		code   int
		stderr string // begins with
	}{
		{"told", t.Context(), exit("exit 1"), true, 1, ""},
		{"told, usage", t.Context(), exit("exit 2"), true, 2, ""},
		{"crashed", t.Context(), exit("exit 2"), false, 1, errorMark + "the background process ended before it was up: exit status 2\np2ptun: hint: its log is st/log\n"},
		{"killed", t.Context(), exit("kill -9 $$"), false, 1, errorMark + "the background process ended before it was up: signal: killed\n"},
		{"taken down", t.Context(), nil, false, 1, errorMark + "p2ptun was taken down before it was up\n"},
		{"interrupted", interrupted, nil, false, 1, ""},
		{"not started", t.Context(), errors.New("wait"), true, 1, errorMark + "the background process"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, stdout, stderr := capture(t)
			e.ctx = tt.ctx
			code := report(e, command{name: "up"}, endError(e, tt.err, tt.told, "st/log"))
			if code != tt.code || !strings.HasPrefix(stderr.String(), tt.stderr) || tt.stderr == "" && stderr.Len() > 0 || stdout.Len() > 0 {
				t.Errorf("exit code %d, stderr %q, want %d, %q", code, stderr, tt.code, tt.stderr)
			}
		})
	}
}
