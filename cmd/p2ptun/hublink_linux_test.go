package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling/hub"
)

// hubLink runs `hub link` and returns the link that it prints, and what it says.
func (m *machine) hubLink(args ...string) (link config.HubLink, said string) {
	m.t.Helper()
	var out, errs bytes.Buffer
	cmd := m.command(append([]string{"hub", "link", "--state", m.state()}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		m.t.Fatalf("hub link: %v\n%s", err, errs.String())
	}
	link, err := config.ParseHubLink(out.String())
	if err != nil || out.String() != link.Token()+"\n" {
		m.t.Errorf("on stdout %q, want the token and no more", out.String())
	}
	return link, errs.String()
}

// TestHubLink: it is shown and rotated while the hub runs and while it does
// not, by its owner alone.
func TestHubLink(t *testing.T) {
	lab := newLab(t)
	m := newMachine(t, lab, "hub")
	start := func() *running {
		t.Helper()
		r := m.start("hub", "--state", m.state())
		if _, err := r.expect("the hub serves; "); err != nil {
			t.Fatal(err)
		}
		return r
	}
	serving := start()
	first, said := m.hubLink()
	if said != "" {
		t.Errorf("said %q", said)
	}
	if info, err := os.Stat(filepath.Join(m.state(), "hub.sock")); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
	second, said := m.hubLink("--rotate")
	if second.Access == first.Access || second.Key != first.Key || !strings.Contains(said, "make no networks any more") {
		t.Errorf("rotated to the same access key or another hub; said %q", said)
	}
	serving.Process.Signal(syscall.SIGTERM)
	if code, out := serving.end(); code != 0 || !missing(filepath.Join(m.state(), "hub.sock")) {
		t.Errorf("exit code %d, output %q, or the socket is left", code, out)
	}
	third, _ := m.hubLink("--rotate")
	if shown, _ := m.hubLink(); third.Access == second.Access || shown.Access != third.Access {
		t.Error("not rotated while the hub is stopped, or not shown")
	}
	start()
	if shown, _ := m.hubLink(); shown.Access != third.Access {
		t.Error("the hub starts with another link")
	}
	if info, err := os.Stat(filepath.Join(m.state(), hub.LinkFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("link file: %v, %v", info.Mode(), err)
	}
}

// TestHubLinkStaysSecret: whatever is printed, logged or handed out, the access
// key is in none of it.
func TestHubLinkStaysSecret(t *testing.T) {
	lab := newTunnelLab(t)
	m, node := newMachine(t, lab, "hub"), newMachine(t, lab, "node")
	serving := m.start("hub", "--state", m.state(), "--log-level", "debug")
	if _, err := serving.expect("the hub serves; "); err != nil {
		t.Fatal(err)
	}
	old, _ := m.hubLink()
	link, said := m.hubLink("--rotate")
	file := filepath.Join(t.TempDir(), "link")
	if err := os.WriteFile(file, []byte(link.Token()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".typo", []byte(link.Token()+"A"), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := []string{said}
	note := func(_ int, stdout, stderr string) { seen = append(seen, stdout, stderr) }
	note(node.run("up", "--new", "home", "--hub", "@"+file+".typo"))
	note(node.run("up", "--new", "home", "--hub", "@"+file, "--log-level", "debug"))
	invite, _ := node.must("invite")
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(invite, "p2ptun-invite-"))
	if err != nil {
		t.Fatal(err)
	}
	seen = append(seen, string(raw))
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"nodes", "--json"}, {"up", "--new", "home", "--hub", "@" + file}} {
		note(node.run(args...))
	}
	seen = append(seen, commandLines(t))
	note(node.run("down"))
	log, err := os.ReadFile(filepath.Join(node.state(), "p2ptun.log"))
	if err != nil {
		t.Fatal(err)
	}
	serving.Process.Signal(syscall.SIGTERM)
	_, out := serving.end()
	if !strings.Contains(out, "network created") || !strings.Contains(string(log), "relay allocated") {
		t.Fatalf("the logs do not tell what was done:\n%s\n%s", out, log)
	}
	for _, text := range append(seen, out, string(log)) {
		for _, l := range []config.HubLink{old, link} {
			if form := leaks(text, l); form != "" {
				t.Errorf("the access key as %s in %q", form, text)
			}
		}
	}
}

// leaks says in which form the text holds the link's secret.
func leaks(text string, l config.HubLink) (form string) {
	_, body, _ := strings.Cut(l.Token(), "p2ptun-hub-")
	end := body[len(body)-16:] // of the access key, with the checksum
	for form, needle := range map[string]string{
		"token": end, "bytes": string(l.Access[:]), "hex": hex.EncodeToString(l.Access[:]),
		"numbers": strings.Trim(fmt.Sprint(l.Access), "[]"), "base64": base64.RawStdEncoding.EncodeToString(l.Access[:]),
		"base64url": base64.RawURLEncoding.EncodeToString(l.Access[:]),
	} {
		if strings.Contains(text, needle) {
			return form
		}
	}
	return ""
}

// commandLines are those of all processes, as ps shows them.
func commandLines(t *testing.T) string {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		b, _ := os.ReadFile(f) // some have ended
		all.Write(b)
	}
	return all.String()
}

// TestHalfOpenTLS: connections that never say a word of TLS count against where
// they come from, and keep nobody else out.
func TestHalfOpenTLS(t *testing.T) {
	lab := newLab(t)
	m, hostile, other := newMachine(t, lab, "hub"), newMachine(t, lab, "hostile"), newMachine(t, lab, "other")
	serving := m.start("hub", "--state", m.state())
	if _, err := serving.expect("the hub serves; "); err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(m.host.Addr(), 443)
	// dial returns nil for a connection that the hub does not keep.
	dial := func(from *machine) net.Conn {
		conn, err := from.host.DialTCP(t.Context(), at)
		if err != nil {
			return nil
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	const most = 128
	var conns []net.Conn
	for range most {
		conns = append(conns, dial(hostile))
	}
	// They are all there still: their time for a handshake is not up.
	if !answersTLS(dial(other)) {
		t.Error("another source is not answered")
	}
	if answersTLS(dial(hostile)) {
		t.Error("one more of the same source was answered")
	}
	conns[0].Close()
	for range most { // the hub takes a moment to notice
		if answersTLS(dial(hostile)) {
			return
		}
	}
	t.Error("a connection that ended still counts")
}

func answersTLS(conn net.Conn) bool {
	return conn != nil && tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake() == nil
}
