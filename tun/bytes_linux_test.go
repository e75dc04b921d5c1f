package tun

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// iovecBytes is the memory that v stands for.
func iovecBytes(v unix.Iovec) []byte { return unsafe.Slice(v.Base, v.Len) }
