package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

func TestReadRelays(t *testing.T) {
	a, b := config.Relay{Host: "a", Transport: config.RelayUDP, Port: 3478, Username: "u", Password: "p"}, config.Relay{Host: "b", Transport: config.RelayUDP, Port: 9}
	file := filepath.Join(t.TempDir(), "relays")
	if err := os.WriteFile(file, []byte("# ours\n\n turn:u:p@a \nturn:b:9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("turn:u:hunter2%@a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		o      upOptions
		relays []string
		stdin  string
		want   []config.Relay
		left   string // of stdin
		err    string
	}{
		{name: "none", stdin: "token", left: "token"},
		{name: "given", relays: []string{"turn:u:p@a", "turn:b:9", "turn:u:p@a"}, want: []config.Relay{a, b}},
		{name: "a file", relays: []string{"@" + file}, want: []config.Relay{a, b}},
		{name: "stdin", relays: []string{"-"}, stdin: "turn:b:9\nturn:u:p@a", want: []config.Relay{b, a}},
		{name: "stdin with a token", o: upOptions{invite: "-"}, relays: []string{"", "-"}, stdin: joinRelays("token", []config.Relay{a, b}), want: []config.Relay{a, b}, left: "token"},
		{name: "the token elsewhere", o: upOptions{invite: "@token"}, relays: []string{"-"}, stdin: "turn:b:9", want: []config.Relay{b}},
		{name: "cleared", relays: []string{""}},
		{name: "bad", relays: []string{"turn:u:hunter2%@a"}, err: "--relay: user or password"},
		{name: "bad file", relays: []string{"@" + bad}, err: "--relay @" + bad + ": user or password"},
		{name: "no file", relays: []string{"@/nowhere"}, err: "/nowhere"},
		{name: "too many", relays: strings.Fields("turn:1.0.0.1 turn:1.0.0.2 turn:1.0.0.3 turn:1.0.0.4 turn:1.0.0.5"), err: "want 4 at most"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Relay = tt.relays
			e, err := tt.o.readRelays(env{stdin: strings.NewReader(tt.stdin)})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			left, _ := io.ReadAll(e.stdin)
			if err != nil || !slices.Equal(tt.o.relays, tt.want) || string(left) != tt.left {
				t.Errorf("got %+v, %q, %v, want %+v, %q", tt.o.relays, left, err, tt.want, tt.left)
			}
		})
	}
}
