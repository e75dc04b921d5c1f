package udpbatch

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// others opens up to n more sockets where the first is (SO_REUSEPORT). The
// first was bound without the option, which it gets only now: so it found the
// address free of another hub's group.
func others(first *net.UDPConn, n int) (more []*net.UDPConn) {
	raw, err := first.SyscallConn()
	if err != nil || reusePort("", "", raw) != nil {
		return nil
	}
	config := net.ListenConfig{Control: reusePort}
	at := first.LocalAddr()
	for range n {
		c, err := config.ListenPacket(context.Background(), Network(at.(*net.UDPAddr).AddrPort().Addr()), at.String())
		if err != nil {
			break // fewer do as well
		}
		more = append(more, c.(*net.UDPConn))
	}
	return more
}

func reusePort(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	return errors.Join(err, failed)
}
