package udpbatch

import (
	"errors"
	"os"

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

func (c *Conn) setFragmentation(probe bool) (err error) {
	f := fragmentation4
	if c.isIPv6() {
		f = fragmentation6
	}
	value := f.data
	if probe {
		value = f.probe
	}
	failed := c.raw.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), f.level, f.option, value))
	})
	return errors.Join(failed, err)
}

// Fragment has datagrams that are too long for their way go in fragments. To be
// called before use.
func (c *Conn) Fragment() error { return c.setFragmentation(false) }

// WriteWhole sends a run of one datagram that may not be fragmented, on a Conn
// for which Fragment was called. The error is syscall.EMSGSIZE for one that is
// longer than the interface carries. IPv4 has no such option for a single
// datagram: what else leaves meanwhile is no worse off.
func (c *Conn) WriteWhole(r *Run) error {
	c.whole.Lock()
	defer c.whole.Unlock()
	if err := c.setFragmentation(true); err != nil {
		return err
	}
	_, err := c.WriteRun(r)
	return errors.Join(err, c.setFragmentation(false))
}
