package main

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// closeInherited keeps the process that stays from holding what the caller's
// shell has left open, for ever. Kernels before 5.11 cannot do this; then it
// stays as it is.
func closeInherited() {
	unix.CloseRange(backgroundFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}

// replaceStderr makes f the standard error.
func replaceStderr(f *os.File) error {
	return unix.Dup3(int(f.Fd()), unix.Stderr, 0)
}
