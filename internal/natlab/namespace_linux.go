package natlab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A namespace is one anonymous network namespace and a netlink handle into
// it. It lives as long as its descriptor, a socket or a process in it.
type namespace struct {
	name  string
	file  *os.File
	inode uint64   // what /proc/PID/ns/net of a process inside shows
	home  *os.File // the namespace that threads return to

	// handle is nil after close, and guarded by the lab's lock. The library
	// would take a closed one for a wish to change the machine itself.
	handle *netlink.Handle
}

// newNamespace makes a namespace with its loopback up.
func newNamespace(name string, home *os.File) (*namespace, error) {
	n := &namespace{name: name, home: home}
	err := onThread(home, func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		n.file, n.inode, err = openThreadNamespace()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("natlab: make namespace %s: %w", name, err)
	}
	// Only the two netlink families that the lab speaks: a handle for all of
	// them asks for kernel modules that nothing here needs.
	n.handle, err = netlink.NewHandleAt(netns.NsHandle(n.fd()), unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err == nil {
		err = n.up("lo")
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("natlab: set up namespace %s: %w", name, err)
	}
	return n, nil
}

// openThreadNamespace returns the calling thread's network namespace, and its
// inode.
func openThreadNamespace() (*os.File, uint64, error) {
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, 0, fmt.Errorf("open own namespace: %w", err)
	}
	st, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("stat own namespace: %w", err)
	}
	return file, st.Sys().(*syscall.Stat_t).Ino, nil
}

// fd returns the descriptor, for the netlink libraries.
func (n *namespace) fd() int { return int(n.file.Fd()) }

// onThread runs fn, which may change the namespace, on a thread of its own, and
// gives the thread back to the runtime in the namespace home. A thread that cannot return
// ends with its goroutine, so that no other goroutine ever runs in a lab by
// accident.
func onThread(home *os.File, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := errors.New("natlab: function did not return")
		defer func() {
			if switchTo(home) == nil {
				runtime.UnlockOSThread()
			}
			done <- err
		}()
		err = fn()
	}()
	return <-done
}

// do runs fn on a thread inside the namespace. Goroutines that fn starts are
// not inside.
func (n *namespace) do(fn func() error) error {
	return onThread(n.home, func() error {
		if err := switchTo(n.file); err != nil {
			return err
		}
		return fn()
	})
}

// switchTo moves the calling thread, which the caller has locked, into the
// namespace.
func switchTo(ns *os.File) error {
	raw, err := ns.SyscallConn()
	if err != nil {
		return fmt.Errorf("natlab: enter namespace: %w", err)
	}
	if raw.Control(func(fd uintptr) { err = unix.Setns(int(fd), unix.CLONE_NEWNET) }) != nil {
		return errClosed // the only way it can fail
	}
	if err != nil {
		return fmt.Errorf("natlab: enter namespace: %w", err)
	}
	return nil
}

// sysctl sets kernel parameters below /proc/sys/net, given as path, value
// pairs. The kernel shows a thread the parameters of its own namespace.
func (n *namespace) sysctl(pairs ...string) error {
	return n.do(func() error {
		for i := 0; i+1 < len(pairs); i += 2 {
			path := "/proc/sys/net/" + pairs[i]
			if err := os.WriteFile(path, []byte(pairs[i+1]), 0); err != nil {
				return fmt.Errorf("natlab: set sysctl in %s: %w", n.name, err)
			}
		}
		return nil
	})
}

// close lets go of the namespace. The kernel removes it, and all interfaces in
// it, when nothing else holds it.
func (n *namespace) close() {
	if n.handle != nil {
		n.handle.Close()
		n.handle = nil
	}
	n.file.Close()
}
