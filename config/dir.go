package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dir is a node's state directory, held by one process at a time. Its methods
// may be called concurrently as long as each file has one writer.
type Dir struct {
	path string
	lock *os.File
	disk disk
}

// The files of a state directory.
const (
	lockFile    = "lock"
	nodeFile    = "node.json"    // keys and membership, see Node
	membersFile = "members.json" // what is known of the other members
	invitesFile = "invites.json" // the invites this node keeps
	keysFile    = "keys.json"    // preshared keys, see KeyStore
	peersFile   = "peers.json"   // where the other members were last
)

// maxStateFile bounds what is read back: a thousand members take 2 MB.
const maxStateFile = 64 << 20

// ErrInUse says that another process holds the state directory.
var ErrInUse = errors.New("another p2ptun is using it")

// OpenDir makes the directory if need be (mode 0700) and takes hold of it. It
// returns ErrInUse if another process has it, and changes nothing in a
// directory that belongs to somebody else.
func OpenDir(path string) (*Dir, error) { return openDir(osDisk{}, path) }

func openDir(disk disk, path string) (*Dir, error) {
	if err := makeDir(disk, path); err != nil {
		return nil, dirError(err, "run as root, or give a directory of yours with --state DIR")
	}
	if err := checkOwner(path); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, dirError(diskError(err), "run as the user that owns it, or give another with --state DIR")
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, WithHint(fmt.Errorf("state directory %s: %w", path, err), "`p2ptun status` shows the running node, `p2ptun down` stops it; a second node needs its own --state, --socket and --interface")
	}
	d := &Dir{path: path, lock: lock, disk: disk}
	d.sweep()
	return d, nil
}

// dirError gives the hint unless the error has a better one.
func dirError(err error, hint string) error {
	wrapped := fmt.Errorf("state directory: %w", err)
	if HintOf(err) != "" {
		return wrapped
	}
	return WithHint(wrapped, hint)
}

// sweep removes what a crash left of unfinished writes: such files hold
// secrets, and nobody else will.
func (d *Dir) sweep() {
	entries, _ := os.ReadDir(d.path) // if it cannot be read, load will say so
	for _, e := range entries {
		if isTemp(e.Name()) {
			d.disk.remove(filepath.Join(d.path, e.Name()))
		}
	}
}

func checkOwner(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() {
		return WithHint(fmt.Errorf("state directory %s belongs to user %d, not to user %d who runs this", path, st.Uid, os.Geteuid()),
			"run as its owner, or give another with --state DIR")
	}
	return nil
}

// Path is the directory's name.
func (d *Dir) Path() string { return d.path }

// Close lets another process have the directory.
func (d *Dir) Close() error { return d.lock.Close() }

// load reads a JSON file into v; found is false when there is none.
func (d *Dir) load(name string, v any) (found bool, err error) {
	f, err := os.Open(filepath.Join(d.path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("state: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxStateFile))
	if err != nil {
		return false, fmt.Errorf("state: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, d.damaged(name, err)
	}
	return true, nil
}

func (d *Dir) damaged(name string, err error) error {
	return WithHint(fmt.Errorf("state file %s is damaged: %w", filepath.Join(d.path, name), err),
		"restore it from a backup; nothing has been changed")
}

func (d *Dir) save(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "\t")
	if err == nil {
		err = writeFile(d.disk, filepath.Join(d.path, name), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

func (d *Dir) remove(name string) error {
	err := d.disk.remove(filepath.Join(d.path, name))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = d.disk.syncDir(d.path) // also of what a killed process has removed
	}
	if err != nil {
		return fmt.Errorf("state: %w", diskError(err))
	}
	return nil
}
