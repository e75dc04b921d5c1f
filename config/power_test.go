package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests of this file cut the power after each step of writing state, and
// look at every disk that may then be found:
//
//   - what was written to a file since its last fsync is there, or nothing of
//     it, a part, or zeros;
//   - what was done to a directory since its last fsync has happened or not,
//     each for itself: no order is taken for granted, although most journals
//     keep one.

// state is all that a state directory says.
type state struct {
	Node    *Node
	Members Members
	Invites []*KeptInvite
}

func readState(d *Dir) (s state, err error) {
	if s.Node, err = d.LoadNode(); err != nil {
		return s, err
	}
	if s.Members, err = d.LoadMembers(); err != nil {
		return s, err
	}
	s.Invites, err = d.LoadInvites()
	return s, err
}

// act is one thing that a node does with its state directory.
type act struct {
	name string
	do   func(d *Dir) error
}

func saveNode(n *Node) act {
	return act{"save " + n.Name, func(d *Dir) error { return d.SaveNode(n) }}
}

// lives are what nodes do from the first start to the end, in that order.
func lives(t *testing.T) map[string][]act {
	nodes := testNodes(t)
	restarted := *nodes["member"]
	restarted.Boot++
	members := func(n int) act {
		return act{"save members", func(d *Dir) error {
			return d.SaveMembers(Members{Statements: slices.Repeat([][]byte{[]byte("record")}, n), Sequence: uint64(n)})
		}}
	}
	open, used := testInvites()[0], testInvites()[0]
	open.Admitted = nil
	invites := func(i ...*KeptInvite) act {
		return act{"save invites", func(d *Dir) error { return d.SaveInvites(i) }}
	}
	forget := act{"forget", func(d *Dir) error { return d.Forget() }}
	return map[string][]act{
		"joiner": {saveNode(nodes["joining"]), saveNode(nodes["member"]), members(1), saveNode(&restarted), members(2), forget, saveNode(nodes["joining"])},
		"keeper": {saveNode(nodes["creator"]), invites(open), invites(used), members(1), invites(used, open), forget},
	}
}

// TestPowerLoss: whenever the power goes, what a node finds is what it stored
// last, or what it was just storing; and no trace of an unfinished write stays.
func TestPowerLoss(t *testing.T) {
	for name, acts := range lives(t) {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			r := &recorder{root: root}
			disks := 0
			d, err := openDir(r, filepath.Join(root, "lib", "p2ptun"))
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			last := state{}
			for _, a := range acts {
				begun := len(r.done)
				if err := a.do(d); err != nil {
					t.Fatal(err)
				}
				now, err := readState(d)
				if err != nil {
					t.Fatal(err)
				}
				for cut := begun; cut <= len(r.done); cut++ {
					for _, disk := range found(r.done[:cut]) {
						disks++
						if err := checkDisk(t, disk, last, now, cut == len(r.done)); err != nil {
							t.Fatalf("%s, power lost after %v: %v\n%s", a.name, r.done[begun:cut], err, names(disk))
						}
					}
				}
				last = now
			}
			t.Logf("%d disks", disks)
		})
	}
}

// checkDisk starts on a disk as it was found.
func checkDisk(t *testing.T, disk map[string]string, before, after state, done bool) error {
	root := t.TempDir()
	for _, path := range slices.Sorted(maps.Keys(disk)) {
		var err error
		if strings.HasSuffix(path, "/") {
			err = os.Mkdir(filepath.Join(root, path), 0o700)
		} else {
			err = os.WriteFile(filepath.Join(root, path), []byte(disk[path]), 0o600)
		}
		if err != nil {
			return err
		}
	}
	d, err := OpenDir(filepath.Join(root, "lib", "p2ptun"))
	if err != nil {
		return err
	}
	defer d.Close()
	got, err := readState(d)
	switch {
	case err != nil:
		return err
	case done && !reflect.DeepEqual(got, after):
		return fmt.Errorf("what was stored is lost")
	case got.Node == nil && (len(got.Invites) > 0 || len(got.Members.Statements) > 0):
		return fmt.Errorf("members or invites of a network that the node has forgotten")
	}
	for _, part := range []struct {
		what              string
		got, before, then any
	}{
		{"node", got.Node, before.Node, after.Node},
		{"members", got.Members, before.Members, after.Members},
		{"invites", got.Invites, before.Invites, after.Invites},
	} {
		if !reflect.DeepEqual(part.got, part.before) && !reflect.DeepEqual(part.got, part.then) {
			return fmt.Errorf("%s: neither the old nor the new", part.what)
		}
	}
	entries, err := os.ReadDir(d.Path())
	for _, e := range entries {
		if isTemp(e.Name()) {
			return fmt.Errorf("%s is still there", e.Name())
		}
	}
	return err
}

func names(disk map[string]string) string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(disk)) {
		fmt.Fprintf(&b, "%s: %d bytes\n", path, len(disk[path]))
	}
	return b.String()
}

// failingDisk fails at one step, as a full or broken disk does.
type failingDisk struct {
	osDisk
	left int // steps that work
	err  error
}

func (f *failingDisk) step(do func() error) error {
	if f.left--; f.left == -1 {
		return f.err
	}
	return do()
}

func (f *failingDisk) createTemp(dir, pattern string) (file tempFile, err error) {
	err = f.step(func() (err error) {
		file, err = f.osDisk.createTemp(dir, pattern)
		return err
	})
	return failingFile{file, f}, err
}

func (f *failingDisk) rename(from, to string) error {
	return f.step(func() error { return f.osDisk.rename(from, to) })
}

func (f *failingDisk) syncDir(path string) error {
	return f.step(func() error { return f.osDisk.syncDir(path) })
}

type failingFile struct {
	tempFile
	disk *failingDisk
}

func (f failingFile) Write(b []byte) (n int, err error) {
	err = f.disk.step(func() error {
		n, err = f.tempFile.Write(b)
		return err
	})
	return n, err
}

func (f failingFile) Sync() error { return f.disk.step(f.tempFile.Sync) }

// TestFailingDisk: whatever step of a write fails, the caller hears it with
// what to do, no part of the write stays, and the old content is there; after
// the last step it may be the new.
func TestFailingDisk(t *testing.T) {
	const steps = 5 // create, write, sync, rename, syncdir
	for err, hint := range map[error]string{
		unix.ENOSPC: "free some space", unix.EDQUOT: "free some space", unix.EROFS: "read-only", unix.EIO: "",
	} {
		for n := range steps {
			d := openTestDir(t)
			saveAll(t, d)
			before := list(t, d.Path())
			d.disk = &failingDisk{left: n, err: err}
			got := d.SaveMembers(Members{Sequence: 8})
			if !errors.Is(got, err) || !strings.Contains(HintOf(got), hint) || hint == "" && HintOf(got) != "" {
				t.Errorf("step %d fails with %v: got %v, hint %q", n, err, got, HintOf(got))
			}
			if now := list(t, d.Path()); n < steps-1 && now != before {
				t.Errorf("step %d failed with %v and left\n%s\nwant\n%s", n, err, now, before)
			}
			m, loadErr := d.LoadMembers()
			if loadErr != nil || m.Sequence != 7 && n < steps-1 {
				t.Errorf("step %d failed with %v: then %v, %v", n, err, m, loadErr)
			}
		}
		d := openTestDir(t)
		d.disk = &failingDisk{left: steps, err: err}
		if err := d.SaveMembers(Members{}); err != nil {
			t.Errorf("a write has more than %d steps: %v", steps, err)
		}
	}
}
