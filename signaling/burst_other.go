//go:build !linux

package signaling

import "syscall"

// Burst does nothing here.
func Burst(_, _ string, _ syscall.RawConn) error { return nil }
