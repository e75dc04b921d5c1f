package natlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// enteredEnv is set in the process that Enter starts.
const enteredEnv = "NATLAB_ENTERED"

// Enter makes labs possible for an ordinary user: if they are not, it runs the
// same program with the same arguments once more, as root of a new user
// namespace, and exits with that program's exit code. Where labs are possible
// already it does nothing. Call it first in main or TestMain; an error says
// what the user can do.
func Enter() error {
	err := Available()
	if err == nil {
		return nil
	}
	if os.Getenv(enteredEnv) != "" { // a user namespace without rights in it
		return fmt.Errorf("%w: %s", err, userNamespaceHint)
	}
	// The kernel kills the child when the thread that started it ends.
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), enteredEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	if startErr := cmd.Start(); startErr != nil {
		signal.Stop(signals)
		runtime.UnlockOSThread()
		return fmt.Errorf("%w; nor can a user namespace be made (%v): %s", err, startErr, userNamespaceHint)
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	os.Exit(exitCode(cmd.Wait()))
	return nil
}

const userNamespaceHint = "run as root, or allow user namespaces: " +
	"sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), " +
	"kernel.unprivileged_userns_clone=1 (Debian), user.max_user_namespaces=10000; " +
	"in a container, start it with --privileged"

// exitCode is the code to exit with after a child that ended like this; killed
// by a signal is 128 and the signal, as in a shell.
func exitCode(err error) int {
	var exit *exec.ExitError
	if err == nil {
		return 0
	}
	if !errors.As(err, &exit) {
		return 1
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// Available reports why this process cannot make labs, or nil if it can. It
// tries once: namespaces, interfaces, a NAT.
var Available = sync.OnceValue(func() error {
	lab, err := New()
	if err != nil {
		return fmt.Errorf("%w (a lab needs root, or a user namespace)", err)
	}
	defer lab.Close()
	nat, err := lab.NAT("probe", PortRestricted)
	if err == nil {
		_, err = nat.Host("probe")
	}
	if err != nil {
		return fmt.Errorf("%w (a lab needs a kernel with nf_tables, veth and bridges, and a writable /proc/sys/net)", err)
	}
	return nil
})

// TUNAvailable reports why programs in a lab cannot make TUN interfaces, or
// nil if they can. The lab itself needs none.
func TUNAvailable() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		return fmt.Errorf("natlab: open /dev/net/tun: %w: run as root, or let users open it (chmod 0666 /dev/net/tun, the default of most distributions)", err)
	case err != nil:
		return fmt.Errorf("natlab: open /dev/net/tun: %w: load the tun module (modprobe tun), or give the container the device", err)
	}
	return unix.Close(fd)
}
