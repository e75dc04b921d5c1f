package tun

import (
	"errors"
	"fmt"
	"os"

	"github.com/p2ptun/p2ptun/config"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const cloneDevice = "/dev/net/tun"

// Layout and offloads of what is read and written: bare IP packets, each after
// a virtio header, as WireGuard's device expects.
const tunFlags = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR

// create makes the TUN interface name, after removing one that a crash left.
// The interface lives until the file is closed.
func create(name string) (*os.File, error) {
	// The kernel decides whether the name is free: looking first would race
	// with whoever else makes interfaces.
	file, err := attach(name, tunFlags|unix.IFF_TUN_EXCL)
	if errors.Is(err, unix.EBUSY) {
		if err := reclaim(name); err != nil {
			return nil, err
		}
		file, err = attach(name, tunFlags|unix.IFF_TUN_EXCL)
	}
	return file, explain(err)
}

// attach opens the TUN driver and binds it to the interface name with flags.
func attach(name string, flags uint16) (*os.File, error) {
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: cloneDevice, Err: err}
	}
	err = bind(fd, name, flags)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), cloneDevice), nil
}

// bind ties the open TUN driver fd to its interface. The descriptor turns
// non-blocking only after that: before, it cannot be polled.
func bind(fd int, name string, flags uint16) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return os.NewSyscallError("TUNSETIFF", err)
	}
	return os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
}

// reclaim removes the interface name if it is a TUN of ours that no process
// holds, with all its addresses and routes. The interfaces Open makes vanish
// with their process, routes included; one can only stay when something made
// it persistent.
func reclaim(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil // it went away by itself meanwhile
	}
	if err != nil {
		return err
	}
	if !isOurs(link) {
		return config.WithHint(fmt.Errorf("the name is taken by a %s interface that is not p2ptun's", link.Type()),
			"choose another name with --interface NAME")
	}
	file, err := attach(name, tunFlags)
	if err != nil {
		return explain(err)
	}
	defer file.Close() // the last holder: the kernel removes it here
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	ctlErr := raw.Control(func(fd uintptr) {
		err = os.NewSyscallError("TUNSETPERSIST", unix.IoctlSetInt(int(fd), unix.TUNSETPERSIST, 0))
	})
	return errors.Join(ctlErr, err)
}

// isOurs says whether this package made link.
func isOurs(link netlink.Link) bool {
	t, ok := link.(*netlink.Tuntap)
	return ok && t.Mode == netlink.TUNTAP_MODE_TUN && t.Alias == alias
}

// explain adds advice to the driver's refusals. What is busy is ours, in another
// process: reclaim has told the others apart.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY):
		return config.WithHint(errors.New("another p2ptun process is using it"),
			"stop that one with p2ptun down, or choose another name with --interface NAME")
	case errors.Is(err, unix.ENOENT):
		return config.WithHint(err, "load the driver with modprobe tun; give a container --device /dev/net/tun")
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return config.WithHint(err, "this kernel has no TUN driver (CONFIG_TUN): try modprobe tun, or another kernel")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return config.WithHint(err, "run as root (sudo), or grant CAP_NET_ADMIN; give a container --cap-add NET_ADMIN --device /dev/net/tun")
	}
	return err
}

// Check says what would keep Open from making the interface name: a missing
// right or driver, or a name that is taken. It makes the interface and removes
// it again, so that a caller can know before it commits to anything.
func Check(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	file, err := create(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return file.Close()
}
