package e2e

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFullDisk: who cannot store says so, with what to do, and promises
// nothing; when there is space again all goes on.
func TestFullDisk(t *testing.T) {
	requireLab(t)
	w := newWorld(t, true, rand.New(rand.NewPCG(1, 2)))
	invite := func() error {
		token, err := w.keeperNode.Run(w.ctx, "invite")
		if err == nil {
			w.open = append(w.open, token)
		}
		return err
	}
	for range 3 {
		if err := invite(); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("keeper", func(t *testing.T) {
		free := w.keeper.fill(t)
		err := invite()
		refused(t, err, "no space left on device")
		if err == nil || !strings.Contains(err.Error(), "p2ptun: hint: free some space") {
			t.Errorf("%v, want a hint", err)
		}
		free()
		if err := invite(); err != nil {
			t.Error(err)
		}
	})
	t.Run("joiner", func(t *testing.T) {
		free := w.joiner.fill(t)
		w.nextJoiner()
		if err := w.joiner.start(); err != nil {
			t.Fatal(err)
		}
		code := exitCode(w.joiner.process.Wait())
		if said := w.joiner.process.Text(); code != 1 || !strings.Contains(said, "no space left on device") || !strings.Contains(said, "hint: free some space") {
			t.Errorf("exit code %d:\n%s", code, said)
		}
		free()
		w.comesIn(t)
	})
	t.Run("hub", func(t *testing.T) {
		free := w.hub.fill(t)
		for range 60 { // its database has some space of its own left
			if err := invite(); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(w.hub.process.Text(), "no space left on device") {
				break
			}
		}
		w.nextJoiner()
		if err := w.joiner.start(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.joiner.process.Expect(w.ctx, "joining network"); err != nil {
			t.Error(err)
		}
		if !strings.Contains(w.hub.process.Text(), "no space left on device") {
			t.Error("the hub's disk was not full")
		}
		free()
		if err := w.finishJoin(); err != nil {
			t.Error(err)
		}
		w.comesIn(t)
	})
	if err := w.checkMembers(); err != nil {
		t.Error(err)
	}
}

// comesIn has a machine join, or try again.
func (w *world) comesIn(t *testing.T) {
	t.Helper()
	if w.joining.id != "" {
		w.nextJoiner()
	}
	err := w.joiner.start()
	if err == nil {
		err = w.finishJoin()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fill leaves no block of the disk free until the returned function is called.
func (m *machine) fill(t *testing.T) (free func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(m.rig.Dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; { // the last blocks one by one
		_, err := f.Write(make([]byte, size))
		if errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return func() {
		f.Close()
		if err := os.Remove(f.Name()); err != nil {
			t.Fatal(err)
		}
	}
}
