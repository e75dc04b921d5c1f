package hub

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// A new access key takes the old link's power to make networks, and nothing
// from those that exist.
func TestRotateLink(t *testing.T) {
	dir := t.TempDir()
	h := startHub(t, Config{State: dir})
	old := h.Link()
	creates := func(h *testHub, link config.HubLink, want signaling.ErrorCode) {
		t.Helper()
		c := dial(t, h)
		c.hello(newMember(t, config.NewNetworkKey(), 1), func(m *signaling.Hello) { m.Access = c.shake.AccessProof(link.Access[:]) })
		if want != "" {
			c.expectError(want)
			return
		}
		c.greeting(true)
	}
	m := newMember(t, config.NewNetworkKey(), 1)
	running := connect(t, h, m)

	link, err := h.RotateLink()
	if err != nil {
		t.Fatal(err)
	}
	if link.Access == old.Access || link.Key != old.Key || link.URLs[0] != old.URLs[0] || h.Link().Access != link.Access {
		t.Error("want another access key and nothing else")
	}
	creates(h, old, signaling.CodeNetwork)
	creates(h, link, "")
	running.settled() // goes on
	dial(t, h).hello(m).greeting(true)

	if _, err := RotateLink(dir); err == nil {
		t.Error("changed the state of a hub that runs")
	}
	h.stop()
	offline, err := RotateLink(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, LinkFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("link file: %v, %v", info.Mode(), err)
	}
	if read, err := ReadLink(dir); err != nil || read.Token() != offline.Token() {
		t.Errorf("the file has another link (%v)", err)
	}
	h = startHub(t, Config{State: dir})
	if h.Link().Access != offline.Access {
		t.Error("the hub starts with another access key")
	}
	creates(h, link, signaling.CodeNetwork)
	creates(h, offline, "")
	dial(t, h).hello(m).greeting(true)
}

func TestNoLink(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for name, get := range map[string]func(string) (config.HubLink, error){"read": ReadLink, "rotate": RotateLink} {
		if _, err := get(dir); err == nil || config.HintOf(err) == "" {
			t.Errorf("%s: %v, want an error with a hint", name, err)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("made a state directory")
	}
}
