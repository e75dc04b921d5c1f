package natlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// killTimeout is how long killed processes may take to be gone.
const killTimeout = 10 * time.Second

// killInside kills all processes but this one whose network namespace is among
// the inodes, and waits until they are gone. It looks again until a look
// finds nothing, as a dying process may have forked meanwhile.
func killInside(inodes map[uint64]bool) error {
	deadline := time.Now().Add(killTimeout)
	for {
		found, err := inside(inodes)
		if err != nil || len(found) == 0 {
			return err
		}
		for _, pidfd := range found {
			// It may be gone by itself; then waiting for it succeeds at once.
			_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		}
		for _, pidfd := range found {
			err = errors.Join(err, awaitEnd(pidfd, deadline))
			unix.Close(pidfd)
		}
		if err != nil {
			return err
		}
	}
}

// inside returns descriptors of the processes in the namespaces.
func inside(inodes map[uint64]bool) (pidfds []int, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, fmt.Errorf("natlab: list processes: %w", err)
	}
	self := os.Getpid()
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err != nil || pid == self || !inodes[inodeOf(path)] {
			continue
		}
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // ended since
		}
		if !inodes[inodeOf(path)] { // the number went to another process
			unix.Close(pidfd)
			continue
		}
		pidfds = append(pidfds, pidfd)
	}
	return pidfds, nil
}

// inodeOf returns the inode of a namespace file, or 0 if it cannot be seen:
// not ours, or gone.
func inodeOf(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// awaitEnd waits until the process has ended.
func awaitEnd(pidfd int, deadline time.Time) error {
	for {
		timeout := max(time.Until(deadline), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(timeout.Milliseconds()))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("natlab: wait for a process: %w", err)
		case n == 0:
			return errors.New("natlab: a killed process does not end")
		default:
			return nil
		}
	}
}
