package framed

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Tune has the kernel take no more of a TCP connection, or of what lies above one,
// than it can soon send: what waits is then in a Writer's hands, which can drop it,
// and not in a buffer of seconds.
func Tune(c net.Conn) {
	for {
		above, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = above.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 2*maxWrite) // an improvement, no more
		})
	}
}
