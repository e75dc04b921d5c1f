//go:build !linux

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

func closeInherited() {}

func replaceStderr(f *os.File) error { return unix.Dup2(int(f.Fd()), unix.Stderr) }
