package tun

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

// device is the packet side of an interface (wgtun.Device). WireGuard's own
// copies each packet once more in each direction, and holds a lock that all
// peers share while it writes.
//
// Reading is for one goroutine; everything else is safe for concurrent use.
type device struct {
	file    *os.File
	raw     syscall.RawConn
	name    string
	events  chan wgtun.Event
	closing sync.Once
	closed  atomic.Bool
	padding atomic.Int32
	plain   bool // no offloads: each packet is read and written by itself
	udp     bool // the kernel joins and takes joined UDP, too

	splitter *splitter
	reading  *transfer
}

// batchSize is how many packets are read or written at a time: all of a
// super-packet of 64 KiB, in packets of 512 bytes. WireGuard has a buffer for
// each.
const batchSize = 128

// newDevice takes the file of an interface that is up. plain turns offloads off.
func newDevice(file *os.File, name string, plain bool) (*device, error) {
	d, err := wrap(file, name, plain)
	if err == nil {
		d.udp, err = d.offload()
	}
	return d, err
}

func wrap(file *os.File, name string, plain bool) (*device, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &device{
		file: file, raw: raw, name: name, plain: plain, events: make(chan wgtun.Event, 1),
		splitter: newSplitter(batchSize), reading: newTransfer(unix.SYS_READV),
	}
	d.padding.Store(BaseMTU)
	d.events <- wgtun.EventUp
	return d, nil
}

// offload asks the kernel for packets that are joined and lack checksums, and
// says whether that goes for UDP, too (Linux 6.2).
func (d *device) offload() (udp bool, err error) {
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	set := func(flags int) (err error) {
		failed := d.raw.Control(func(fd uintptr) { err = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, flags) })
		return errors.Join(failed, err)
	}
	switch {
	case d.plain:
		err = set(0)
	case set(tcp|unix.TUN_F_USO4|unix.TUN_F_USO6) == nil:
		return true, nil
	default:
		err = set(tcp)
	}
	if err != nil {
		return false, fmt.Errorf("set offloads: %w", err)
	}
	return false, nil
}

// Read takes the next packets for the tunnel. A read deadline of File ends it
// with os.ErrDeadlineExceeded and loses nothing.
//
// It lets others run first: so a batch is encrypted and sent while it is in the
// processor's cache, and the next waits in the kernel.
func (d *device) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	runtime.Gosched()
	n := d.splitter.more(bufs, sizes, offset)
	if n == 0 {
		d.reading.iovs = d.splitter.layout(bufs, offset)
		got, err := d.reading.wait(d.raw)
		if err != nil {
			return 0, d.failed(err)
		}
		if n, err = d.splitter.split(bufs, sizes, offset, got); errors.Is(err, errMalformed) {
			return 0, nil // the kernel's fault, and of one packet only
		}
	}
	d.pad(bufs[:n], sizes, offset)
	return n, nil
}

// padTo is the multiple that WireGuard pads packets to (paper, section 5.4.6),
// to say less about their length.
const padTo = 16

// pad fills packets up to a multiple of padTo with zeros, which WireGuard itself would do beyond what the path carries.
// So larger ones than every path carries stay as they are.
func (d *device) pad(bufs [][]byte, sizes []int, offset int) {
	limit := int(d.padding.Load())
	for i, b := range bufs {
		if to := (sizes[i] + padTo - 1) &^ (padTo - 1); to <= limit {
			clear(b[offset+sizes[i] : offset+to])
			sizes[i] = to
		}
	}
}

// lowerPadding makes max the most that padding leads to, unless it is lower
// already.
func (d *device) lowerPadding(max int) {
	for {
		old := d.padding.Load()
		if int(old) <= max || d.padding.CompareAndSwap(old, int32(max)) {
			return
		}
	}
}

// Write gives packets that came through the tunnel to the kernel. It goes on
// after an error, and returns the first.
func (d *device) Write(bufs [][]byte, offset int) (int, error) {
	w := writers.Get().(*writer)
	defer writers.Put(w)
	w.plain, w.udp, w.offset = d.plain, d.udp, offset
	w.merge(bufs)
	var first error
	for i := range w.runs {
		if err := w.write(d.raw, bufs, i); err != nil && first == nil {
			first = d.failed(err)
		}
	}
	return len(bufs), first
}

// writer is what one Write needs.
type writer struct {
	merger
	out *transfer
}

// write writes the i-th run. Kernels exist that refuse some runs (Linux 6.6.44
// those with a shorter last packet): their packets go one by one.
func (w *writer) write(c syscall.RawConn, bufs [][]byte, i int) error {
	w.out.iovs = w.message(bufs, i)
	_, err := w.out.now(c)
	if w.runs[i].count == 1 || !errors.Is(err, unix.EINVAL) {
		return err
	}
	w.restore(bufs, i)
	err = nil
	for j, more := w.runs[i].first, true; more; j, more = w.after(j) {
		w.out.iovs = w.single(bufs[j])
		if _, failed := w.out.now(c); failed != nil && err == nil {
			err = failed
		}
	}
	return err
}

var writers = sync.Pool{New: func() any { return &writer{out: newTransfer(unix.SYS_WRITEV)} }}

// failed tells a device that is closed, or whose interface was removed, from
// other failures.
func (d *device) failed(err error) error {
	if d.closed.Load() || errors.Is(err, unix.EBADFD) {
		return os.ErrClosed
	}
	return err
}

func (d *device) File() *os.File             { return d.file }
func (d *device) Name() (string, error)      { return d.name, nil }
func (d *device) Events() <-chan wgtun.Event { return d.events }
func (d *device) BatchSize() int             { return batchSize }

// MTU returns 1: so WireGuard adds no padding, see pad.
func (d *device) MTU() (int, error) { return 1, nil }

// Close ends Read, and removes the interface.
func (d *device) Close() (err error) {
	d.closing.Do(func() {
		d.closed.Store(true)
		err = d.file.Close()
		close(d.events)
	})
	return err
}
