package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// FuzzState loads each file of a state directory from any bytes: they are
// taken, or refused with what to do; what was taken is stored and comes back
// the same.
func FuzzState(f *testing.F) {
	d, err := OpenDir(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	defer d.Close()
	d.disk = fastDisk{}
	seed := func(name string, err error) {
		if err != nil {
			f.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(d.Path(), name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, n := range testNodes(f) {
		seed(nodeFile, d.SaveNode(n))
	}
	seed(membersFile, d.SaveMembers(Members{Statements: [][]byte{[]byte("record")}, Sequence: 7}))
	seed(invitesFile, d.SaveInvites(testInvites()))
	f.Add([]byte(`[null]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		checkState(t, d, nodeFile, b, d.LoadNode, d.SaveNode)
		checkState(t, d, membersFile, b, d.LoadMembers, d.SaveMembers)
		checkState(t, d, invitesFile, b, d.LoadInvites, d.SaveInvites)
	})
}

func checkState[T any](t *testing.T, d *Dir, name string, b []byte, load func() (T, error), save func(T) error) {
	if err := os.WriteFile(filepath.Join(d.Path(), name), b, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := load()
	if err != nil {
		if HintOf(err) == "" {
			t.Errorf("%s: no hint with %v", name, err)
		}
		return
	}
	if err := save(got); err != nil {
		t.Fatalf("%s: loaded %+v, not stored: %v", name, got, err)
	}
	again, err := load()
	if err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("%s: %+v came back as %+v, %v", name, got, again, err)
	}
}

// fastDisk does not wait for the disk.
type fastDisk struct{ osDisk }

func (fastDisk) createTemp(dir, pattern string) (tempFile, error) {
	f, err := os.CreateTemp(dir, pattern)
	return fastFile{f}, err
}
func (fastDisk) syncDir(string) error { return nil }

type fastFile struct{ *os.File }

func (fastFile) Sync() error { return nil }
