package main

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

// TestHub is a hub's life, and what is in the way of another beside it.
func TestHub(t *testing.T) {
	lab := newLab(t)
	m := newMachine(t, lab, "hub")
	hub := m.start("hub", "--print-link", "--state", m.state())
	token, err := hub.expect("hub link: ")
	if err != nil {
		t.Fatal(err)
	}
	link, err := config.ParseHubLink(token)
	if err != nil {
		t.Fatal(err)
	}
	if want := "wss://" + netip.AddrPortFrom(m.host.Addr(), 443).String(); link.URLs[0] != want {
		t.Errorf("the link is for %q, want %q", link.URLs, want)
	}

	other := t.TempDir()
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"another p2ptun is using it", []string{"--state", m.state()}},
		{"signaling (TCP) on :443: address already in use", []string{"--state", other}},
		{"STUN and TURN (UDP)", []string{"--state", other, "--listen", ":8443"}},
		{"members cannot reach it", []string{"--state", other, "--public-addr", "0.0.0.0"}},
	} {
		code, out := m.start(append([]string{"hub"}, tt.args...)...).end()
		if code != 1 || !strings.Contains(out, tt.want) || !strings.Contains(out, "hint: ") {
			t.Errorf("%q: exit code %d, output %q; want 1, %q and a hint", tt.args, code, out, tt.want)
		}
		if err := oneLine(out); err != nil {
			t.Error(err)
		}
	}

	hub.Process.Signal(syscall.SIGTERM)
	if code, out := hub.end(); code != 0 || strings.Contains(out, errorMark) {
		t.Errorf("stopped: exit code %d, output %q", code, out)
	}
}

// TestHubKeepsItsLink: where nobody looks the link is not printed, and the
// same one comes again.
func TestHubKeepsItsLink(t *testing.T) {
	lab := newLab(t)
	m := newMachine(t, lab, "hub")
	run := func(first string, args ...string) string {
		t.Helper()
		hub := m.start(append([]string{"hub", "--state", m.state()}, args...)...)
		line, err := hub.expect(first)
		if err != nil {
			t.Fatal(err)
		}
		hub.Process.Signal(syscall.SIGINT)
		if code, out := hub.end(); code != 0 || strings.Contains(out, "p2ptun-hub-") {
			t.Errorf("exit code %d, output %q", code, out)
		}
		return line
	}
	if said := run("the hub serves; "); strings.Contains(said, "p2ptun-hub-") || !strings.Contains(said, m.state()+"/link") {
		t.Errorf("said %q", said)
	}
	link := run("hub link: ", "--print-link")
	if again := run("hub link: ", "--print-link"); again != link {
		t.Error("the link has changed")
	}
}
