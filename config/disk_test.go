package config

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// recorder is a disk that works, below root, and remembers what was done.
type recorder struct {
	osDisk
	root string
	done []step
}

// step is one thing done to the disk.
type step struct {
	what string // mkdir, create, write, sync, rename, remove, syncdir
	path string // below root
	to   string // of a rename
	data string // of a write
}

func (s step) String() string { return s.what + " " + s.path }

func (r *recorder) note(what, path string, more ...string) {
	rel := func(p string) string {
		s, err := filepath.Rel(r.root, p)
		if err != nil {
			panic(err)
		}
		return s
	}
	s := step{what: what, path: rel(path)}
	switch what {
	case "rename":
		s.to = rel(more[0])
	case "write":
		s.data = more[0]
	}
	r.done = append(r.done, s)
}

func (r *recorder) mkdir(path string) error {
	r.note("mkdir", path)
	return r.osDisk.mkdir(path)
}

func (r *recorder) createTemp(dir, pattern string) (tempFile, error) {
	f, err := r.osDisk.createTemp(dir, pattern)
	if err == nil {
		r.note("create", f.Name())
		f = recordedFile{f, r}
	}
	return f, err
}

func (r *recorder) rename(from, to string) error {
	r.note("rename", from, to)
	return r.osDisk.rename(from, to)
}

func (r *recorder) remove(path string) error {
	err := r.osDisk.remove(path)
	if err == nil {
		r.note("remove", path)
	}
	return err
}

func (r *recorder) syncDir(path string) error {
	r.note("syncdir", path)
	return r.osDisk.syncDir(path)
}

type recordedFile struct {
	tempFile
	r *recorder
}

func (f recordedFile) Write(b []byte) (int, error) {
	f.r.note("write", f.Name(), string(b))
	return f.tempFile.Write(b)
}

func (f recordedFile) Sync() error {
	f.r.note("sync", f.Name())
	return f.tempFile.Sync()
}

// inode is a file or a directory of the model.
type inode struct {
	entries map[string]*inode // of a directory
	data    string            // as a program sees it
	synced  bool
	pending []change // to the entries, since the last fsync of the directory
}

// change links a name to an inode, or to nothing; a rename inside a directory
// is one change of two names.
type change map[string]*inode

// found are the disks that may be found when the power goes after these steps,
// as file name (a directory's ends with a slash) to content.
func found(steps []step) []map[string]string {
	root := &inode{entries: map[string]*inode{}}
	live := map[string]*inode{".": root} // as programs see it
	var dirs []*inode                    // in the order they were made
	dirs = append(dirs, root)
	touch := func(c change, dir string) { live[dir].pending = append(live[dir].pending, c) }
	for _, s := range steps {
		dir, base := filepath.Dir(s.path), filepath.Base(s.path)
		switch s.what {
		case "mkdir":
			d := &inode{entries: map[string]*inode{}}
			live[s.path], dirs = d, append(dirs, d)
			touch(change{base: d}, dir)
		case "create":
			live[s.path] = &inode{synced: true}
			touch(change{base: live[s.path]}, dir)
		case "write":
			live[s.path].data += s.data
			live[s.path].synced = false
		case "sync":
			live[s.path].synced = true
		case "rename":
			live[s.to] = live[s.path]
			delete(live, s.path)
			touch(change{base: nil, filepath.Base(s.to): live[s.to]}, dir)
		case "remove":
			delete(live, s.path)
			touch(change{base: nil}, dir)
		case "syncdir":
			d := live[s.path]
			for _, c := range d.pending {
				d.apply(c)
			}
			d.pending = nil
		}
	}
	return expand(dirs)
}

func (n *inode) apply(c change) {
	for name, to := range c {
		if n.entries[name] = to; to == nil {
			delete(n.entries, name)
		}
	}
}

// expand lists the disks: of each directory any of its pending changes, of
// each file any of its contents.
func expand(dirs []*inode) (disks []map[string]string) {
	var choose func(i int)
	choose = func(i int) {
		if i == len(dirs) {
			disks = append(disks, below(dirs[0], "")...)
			return
		}
		d := dirs[i]
		before := maps.Clone(d.entries)
		for mask := range 1 << len(d.pending) {
			d.entries = maps.Clone(before)
			for bit, c := range d.pending {
				if mask>>bit&1 == 1 {
					d.apply(c)
				}
			}
			choose(i + 1)
		}
		d.entries = before
	}
	choose(0)
	return disks
}

// below lists what a directory and those below may hold.
func below(dir *inode, path string) []map[string]string {
	disks := []map[string]string{{}}
	for _, name := range slices.Sorted(maps.Keys(dir.entries)) {
		n := dir.entries[name]
		var variants []map[string]string
		if n.entries != nil {
			for _, sub := range below(n, path+name+"/") {
				sub[path+name+"/"] = ""
				variants = append(variants, sub)
			}
		} else {
			for _, content := range n.contents() {
				variants = append(variants, map[string]string{path + name: content})
			}
		}
		var all []map[string]string
		for _, d := range disks {
			for _, v := range variants {
				both := maps.Clone(d)
				maps.Copy(both, v)
				all = append(all, both)
			}
		}
		disks = all
	}
	return disks
}

func (n *inode) contents() []string {
	if n.synced {
		return []string{n.data}
	}
	return []string{"", n.data[:len(n.data)/2], strings.Repeat("\x00", len(n.data)), n.data}
}
