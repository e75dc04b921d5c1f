package tun

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// transfer is a readv or writev, to be used again and again. It allocates
// nothing. The scheduler is not told of the system call: it does not block, and
// telling costs more than it gives. Not safe for concurrent use.
type transfer struct {
	iovs []unix.Iovec
	try  func(fd uintptr) (done bool)
	once func(fd uintptr)
	n    int
	err  error
}

func newTransfer(trap uintptr) *transfer {
	t := new(transfer)
	t.try = func(fd uintptr) bool { return t.run(trap, fd) }
	t.once = func(fd uintptr) { t.run(trap, fd) }
	return t
}

// run makes the call, and says whether it was more than "not now".
func (t *transfer) run(trap, fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.iovs))), uintptr(len(t.iovs)))
		switch errno {
		case 0:
			t.n, t.err = int(n), nil
			return true
		case syscall.EINTR:
		default:
			t.n, t.err = 0, errno
			return errno != syscall.EAGAIN
		}
	}
}

// wait reads when there is something to read.
func (t *transfer) wait(c syscall.RawConn) (int, error) {
	if err := c.Read(t.try); err != nil {
		return 0, err
	}
	return t.n, t.err
}

// now writes at once. It takes no lock, which RawConn.Write does.
func (t *transfer) now(c syscall.RawConn) (int, error) {
	if err := c.Control(t.once); err != nil {
		return 0, err
	}
	return t.n, t.err
}
