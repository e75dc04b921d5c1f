package udpbatch

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// preferPublic is IPV6_PREFER_SRC_PUBLIC of linux/in6.h (RFC 5014 section 3).
const preferPublic = 0x2

// Stable has what leaves without a source address leave from a stable one, where the
// kernel would prefer a temporary one (RFC 8981): what others learn of it shall last.
// It does nothing for IPv4.
func (c *Conn) Stable() (err error) {
	if !c.isIPv6() {
		return nil
	}
	failed := c.raw.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_ADDR_PREFERENCES, preferPublic))
	})
	return errors.Join(failed, err)
}
