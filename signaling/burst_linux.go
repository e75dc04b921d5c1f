package signaling

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// unpaced is what replaces a congestion control that paces: any process may choose
// it.
const unpaced = "reno"

// Burst has what is written to a TCP socket leave without pacing. It is a Control of
// net.Dialer and net.ListenConfig, whose connections inherit it. It never fails: what
// the kernel has serves, too.
func Burst(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		name, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		if err == nil && strings.HasPrefix(name, "bbr") {
			_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, unpaced)
		}
	})
}
