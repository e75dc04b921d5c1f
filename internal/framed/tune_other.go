//go:build !linux

package framed

import "net"

// Tune does nothing on this system.
func Tune(net.Conn) {}
