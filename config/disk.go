package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// disk is all that writing state does to a file system. Tests stand between:
// they cut the power after each step, and have each step fail.
type disk interface {
	mkdir(path string) error // mode 0700
	createTemp(dir, pattern string) (tempFile, error)
	rename(from, to string) error
	remove(path string) error
	syncDir(path string) error
}

// tempFile is a new file, mode 0600.
type tempFile interface {
	io.WriteCloser
	Name() string
	Sync() error
}

// osDisk is the real one.
type osDisk struct{}

func (osDisk) mkdir(path string) error { return os.Mkdir(path, 0o700) }
func (osDisk) createTemp(dir, pattern string) (tempFile, error) {
	return os.CreateTemp(dir, pattern)
}
func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) remove(path string) error     { return os.Remove(path) }

func (osDisk) syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil // this file system cannot, and it is no reason to keep nothing
	}
	return err
}

// WriteFile replaces a file with mode 0600, durably when it returns: after a
// crash or a loss of power at any point the file has either its old content or
// the new. It may leave a file with a part of the new; OpenDir removes those.
//
//	write DIR/.NAME.tmp-*  ─►  fsync it  ─►  rename to NAME  ─►  fsync DIR
//
// Without the first fsync NAME might be found empty, without the second it
// might be found old after somebody was told that it is new. An error says
// what the user can do if the disk is full or read-only; the old content then
// stands, but for an error of the last step.
func WriteFile(path string, data []byte) error { return writeFile(osDisk{}, path, data) }

func writeFile(d disk, path string, data []byte) (err error) {
	defer func() { err = diskError(err) }()
	dir := filepath.Dir(path)
	f, err := d.createTemp(dir, TempPattern(filepath.Base(path)))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			d.remove(f.Name()) // gone already if the last step failed
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = d.rename(f.Name(), path); err != nil {
		return err
	}
	return d.syncDir(dir)
}

const tempMark = ".tmp-"

// TempPattern is the os.CreateTemp pattern of the names under which a file is
// written before it is whole. OpenDir removes what a crash has left of them.
func TempPattern(name string) string { return "." + name + tempMark + "*" }

func isTemp(name string) bool {
	return strings.HasPrefix(name, ".") && strings.Contains(name, tempMark)
}

// makeDir makes a directory and those above it, so that a loss of power later
// does not take it away with all that is in it.
func makeDir(d disk, path string) error {
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s: %w", path, unix.ENOTDIR)
		}
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := makeDir(d, parent); err != nil {
			return err
		}
	}
	if err := d.mkdir(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return diskError(err)
	}
	return d.syncDir(parent)
}

// diskError adds what the user can do about a disk that takes nothing.
func diskError(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return WithHint(err, "free some space on the file system that the state is on; what was stored before is unharmed")
	case errors.Is(err, unix.EROFS):
		return WithHint(err, "the file system is read-only: mount it writable, or give a directory elsewhere with --state DIR; if a disk error made it so, the kernel log says which")
	}
	return err
}
