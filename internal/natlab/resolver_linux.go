package natlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const resolvConf = "/etc/resolv.conf"

// resolving returns the spawner of commands that ask the LAN's resolver.
func (n *NAT) resolving() (*spawner, error) {
	if n.spawner != nil {
		return n.spawner, nil
	}
	s, err := startResolving(n.lab.home, n.resolver)
	if err != nil {
		return nil, fmt.Errorf("natlab: a resolver for the hosts of %s: %w", n.ns.name, err)
	}
	n.spawner = s
	n.lab.ending = append(n.lab.ending, s.stop)
	return s, nil
}

// startResolving starts a spawner whose thread has a mount namespace of its own, in
// which another file is the resolver's configuration. Its children inherit that. The
// machine's own is never touched.
func startResolving(home *os.File, resolver netip.Addr) (*spawner, error) {
	s := newSpawner(home)
	ready := make(chan error)
	onSpareThread(func() {
		defer close(s.done)
		err := mountResolver(resolver)
		ready <- err
		if err == nil {
			s.serve()
		}
	})
	return s, <-ready
}

// onSpareThread runs fn on a thread that ends with it, as it can never be as before.
// The main thread would stay, and the process be seen in what fn has made.
func onSpareThread(fn func()) {
	go func() {
		runtime.LockOSThread() // and never unlocked
		if unix.Gettid() != os.Getpid() {
			fn()
			return
		}
		done := make(chan struct{})
		onSpareThread(func() {
			defer close(done)
			fn()
		})
		<-done
		runtime.UnlockOSThread()
	}()
}

// mountResolver gives the calling thread its own view of the file.
func mountResolver(resolver netip.Addr) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare the mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep the mounts private: %w", err)
	}
	file, err := os.CreateTemp("", "natlab-resolv-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // mounted, it lives on
	_, err = fmt.Fprintf(file, "nameserver %s\n", resolver)
	if err = errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	if err := unix.Mount(file.Name(), resolvConf, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount over %s: %w", resolvConf, err)
	}
	return nil
}
