package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// powerDisk is the disk of a machine whose power can be cut: an ext4 in a file,
// without the heuristics that forgive a program a missing fsync. A cut is the
// file system's own (EXT4_IOC_SHUTDOWN): from one instant to the next nothing
// more reaches the disk, not even the journal. What a cut does not do is to
// lose what the disk itself has taken and not yet made durable; package config
// tests every such order with a disk of its own.
type powerDisk struct {
	image string
	mount *os.File // reached by descriptor alone: it ends with this process
}

// newPowerDisk makes an empty disk, or skips the test where there can be none.
func newPowerDisk(t *testing.T) *powerDisk {
	t.Helper()
	d := &powerDisk{image: filepath.Join(t.TempDir(), "disk")}
	if err := d.format(); err != nil {
		t.Skip("no disk whose power can be cut here: ", err)
	}
	if err := d.start(); err != nil {
		t.Skip("no disk whose power can be cut here: ", err)
	}
	t.Cleanup(func() { d.mount.Close() })
	return d
}

const diskSize = 24 << 20 // bytes

func (d *powerDisk) format() error {
	f, err := os.Create(d.image)
	if err != nil {
		return err
	}
	if err := f.Truncate(diskSize); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	cmd := exec.Command("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,root_owner=0:0", d.image)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/sbin:/usr/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", cmd, err, out)
	}
	return nil
}

// start mounts the disk; after a cut this replays its journal.
func (d *powerDisk) start() error {
	loop, err := attachLoop(d.image)
	if err != nil {
		return err
	}
	defer loop.Close() // it goes with the mount
	fs, err := unix.Fsopen("ext4", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", loop.Name()); err != nil {
		return fmt.Errorf("fsconfig: %w", err)
	}
	// data=writeback: what was not fsynced may be found empty or zero.
	if err := unix.FsconfigSetString(fs, "data", "writeback"); err != nil {
		return fmt.Errorf("fsconfig: %w", err)
	}
	if err := unix.FsconfigSetFlag(fs, "noauto_da_alloc"); err != nil {
		return fmt.Errorf("fsconfig: %w", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("mount %s: %w", d.image, err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fsmount: %w", err)
	}
	d.mount = os.NewFile(uintptr(mount), "mount of "+d.image)
	return nil
}

// attachLoop makes a loop device of a file, which goes when nobody uses it.
func attachLoop(image string) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return loop, nil
		}
		loop.Close()
		if err != unix.EBUSY { // somebody else was faster
			return nil, fmt.Errorf("loop device: %w", err)
		}
	}
}

// dir is the disk's root. It is another path after each start.
func (d *powerDisk) dir() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), d.mount.Fd()) }

// cut is the loss of power: nothing reaches the disk any more.
func (d *powerDisk) cut() error {
	const (
		ext4Shutdown = 0x8004587d // _IOR('X', 125, __u32)
		noLogFlush   = 2
	)
	root, err := os.Open(d.dir())
	if err != nil {
		return err
	}
	defer root.Close()
	how := uint32(noLogFlush)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, root.Fd(), ext4Shutdown, uintptr(unsafe.Pointer(&how)))
	runtime.KeepAlive(root)
	if errno != 0 {
		return fmt.Errorf("EXT4_IOC_SHUTDOWN: %w", errno)
	}
	return nil
}

// restart is the power's return. Every process that used the disk has ended.
func (d *powerDisk) restart() error {
	if err := d.mount.Close(); err != nil {
		return err
	}
	return d.start()
}

// TestPowerDisk: the tests that cut the power would notice a missing fsync.
func TestPowerDisk(t *testing.T) {
	d := newPowerDisk(t)
	synced, unsynced := filepath.Join(d.dir(), "synced"), filepath.Join(d.dir(), "unsynced")
	if err := os.WriteFile(unsynced+"~", []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(unsynced+"~", unsynced); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(synced)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("content")
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	late := filepath.Join(d.dir(), "late")
	if err := os.WriteFile(late, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.cut(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(synced, []byte("other"), 0o600); err == nil {
		t.Error("the disk takes writes without power")
	}
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"synced": "content", "unsynced": "", "late": "no file"} {
		b, err := os.ReadFile(filepath.Join(d.dir(), name))
		got := string(b)
		if os.IsNotExist(err) {
			got = "no file"
		} else if err != nil {
			t.Error(err)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
