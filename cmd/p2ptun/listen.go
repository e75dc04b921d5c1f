package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits into a sockaddr_un, in bytes.
const maxSocketPath = 107

// listenControl opens the control socket, for its owner alone; one left by a
// crash is replaced, and nothing else ever. Closing the listener removes it.
func listenControl(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, config.WithHint(fmt.Errorf("control socket %s: the path has %d characters, at most %d fit", path, len(path), maxSocketPath),
			"give a shorter one with --socket")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, socketError(err)
	}
	if err := clearSocket(path); err != nil {
		return nil, err
	}
	// By the mask, not by a chmod after: there is no moment when others may
	// connect.
	mask := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(mask)
	if err != nil {
		return nil, socketError(err)
	}
	return l, nil
}

// clearSocket removes the socket of a node that is no more.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return socketError(err)
	case info.Mode().Type() != fs.ModeSocket:
		return config.WithHint(fmt.Errorf("control socket %s: there is something else in its place", path), "remove that, or give another path with --socket")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		conn.Close()
		return config.WithHint(fmt.Errorf("control socket %s: another node is using it", path), "give this one its own --socket, --interface and --state")
	case !errors.Is(err, syscall.ECONNREFUSED):
		return socketError(err)
	}
	if err := os.Remove(path); err != nil {
		return socketError(err)
	}
	return nil
}

func socketError(err error) error {
	return config.WithHint(fmt.Errorf("control socket: %w", err), "run as root, or give a path of yours with --socket")
}
