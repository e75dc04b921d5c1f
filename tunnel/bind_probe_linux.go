package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// fragmentation is how a socket treats datagrams that are too long for the path:
// the option, and its values for data and for probes.
type fragmentation struct{ level, option, data, probe int }

// Data is fragmented where it is too long. IPv4 has the routers do it, and
// forgets what anybody says of the path (OMIT); IPv6 can only do it here, as
// routers tell (DONT). What passes whole is for probes to find out: in IPv4
// they try the interface's MTU (PROBE), in IPv6 what routers told is the limit,
// for data would be cut to it anyway (DO).
var (
	fragmentation4 = fragmentation{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT, unix.IP_PMTUDISC_PROBE}
	fragmentation6 = fragmentation{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT, unix.IPV6_PMTUDISC_DO}
)

// setFragmentable prepares a new socket.
func setFragmentable(network string, s int) error {
	f := fragmentation4
	if network == "udp6" {
		f = fragmentation6
	}
	return unix.SetsockoptInt(s, f.level, f.option, f.data)
}

// probing is held while a socket sends a probe: IPv4 has no control message for
// a single datagram. Data that leaves meanwhile is no worse off than a probe.
var probing sync.Mutex

// probe sends one datagram that may not be fragmented.
func (s *socket) probe(p []byte, to netip.AddrPort, control []byte) (err error) {
	c, ok := s.conn.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	f := fragmentation4
	if to.Addr().Is6() {
		f = fragmentation6
	}
	set := func(value int) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), f.level, f.option, value) })
		if err = errors.Join(err, failed); err != nil {
			return fmt.Errorf("set MTU discovery: %w", err)
		}
		return nil
	}
	probing.Lock()
	defer probing.Unlock()
	if err := set(f.probe); err != nil {
		return err
	}
	_, _, err = s.conn.WriteMsgUDPAddrPort(p, control, to)
	return errors.Join(err, set(f.data))
}
