//go:build !linux

package natlab

import "errors"

var errNotLinux = errors.New("natlab: a lab is made of Linux network namespaces; this is not Linux")

// Available reports that there are no labs on this system.
func Available() error { return errNotLinux }

// TUNAvailable reports that there are no labs on this system.
func TUNAvailable() error { return errNotLinux }

// Enter reports that there are no labs on this system.
func Enter() error { return errNotLinux }
