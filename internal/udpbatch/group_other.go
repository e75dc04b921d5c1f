//go:build !linux

package udpbatch

import "net"

// others opens none: elsewhere SO_REUSEPORT does not spread senders.
func others(*net.UDPConn, int) []*net.UDPConn { return nil }
