package udpbatch

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel refuses to cut without checksums, which it computes only while it
// cuts. What is refused goes one by one, this time.
func TestRefused(t *testing.T) {
	in, out := listen(t, homes[0]), listen(t, homes[0])
	if err := out.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	r := NewRun()
	r.Reset(at(in))
	for i := range 10 {
		r.Append(nil, pattern(i, 500))
	}
	if err := out.WriteJoined(r); !errors.Is(err, unix.EINVAL) {
		t.Skipf("this kernel does not refuse: %v", err)
	}
	if n, err := out.WriteRun(r); n != 10 || err != nil {
		t.Fatalf("sent %d: %v", n, err)
	}
	for i, d := range receive(t, in, 10) {
		if !slices.Equal(d, pattern(i, 500)) {
			t.Errorf("datagram %d differs", i)
		}
	}
	if !out.GSO() {
		t.Error("one by one from now on")
	}
}

// refusing is a way out on which the kernel cannot cut.
type refusing struct {
	syscall.RawConn
	run   *Run
	errno syscall.Errno
	times int
}

func (c *refusing) Control(f func(uintptr)) error {
	if c.run.sys.joined {
		c.times++
		c.run.sys.errno = c.errno
		return nil
	}
	return c.RawConn.Control(f)
}

// No kernel of today refuses for good where tests run: so one is made up.
func TestRefusedForGood(t *testing.T) {
	for _, tt := range []struct {
		errno syscall.Errno
		sent  bool
		tried int
	}{{unix.EIO, true, 1}, {unix.EINVAL, true, 3}, {unix.EMSGSIZE, true, 3}, {unix.EPERM, false, 3}} {
		in, out := listen(t, homes[0]), listen(t, homes[0])
		r := NewRun()
		raw := &refusing{RawConn: out.raw, run: r, errno: tt.errno}
		out.raw = raw
		for range 3 {
			r.Reset(at(in))
			for i := range 5 {
				r.Append(nil, pattern(i, 100))
			}
			if n, err := out.WriteRun(r); n == 5 != tt.sent || err == nil != tt.sent {
				t.Errorf("%v: sent %d, %v", tt.errno, n, err)
			}
		}
		if raw.times != tt.tried {
			t.Errorf("%v: tried %d times, want %d", tt.errno, raw.times, tt.tried)
		}
		if tt.sent {
			receive(t, in, 15)
		}
	}
}

// Datagrams beyond the path's MTU cannot be cut from one piece. They go one by
// one, in fragments, and those that fit go on in one piece.
func TestBeyondMTU(t *testing.T) {
	smallLoopback(t, 1500)
	for _, home := range homes {
		in, out := listen(t, home), listen(t, home)
		r := NewRun()
		for _, size := range []int{1400, 4000, 9000, 1400} {
			r.Reset(at(in))
			var want [][]byte
			for i := range 7 {
				want = append(want, pattern(i, size))
				r.Append(nil, want[i])
			}
			err := out.WriteJoined(r)
			if (err == nil) != (size < 1500) {
				t.Errorf("%d bytes in one piece: %v", size, err)
			}
			if err == nil {
				receive(t, in, 7)
			}
			if n, err := out.WriteRun(r); n != 7 || err != nil {
				t.Fatalf("%d bytes: sent %d: %v", size, n, err)
			}
			if got := receive(t, in, 7); !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("%d bytes: they differ", size)
			}
		}
		if !out.GSO() {
			t.Error("one by one from now on")
		}
	}
}

// smallLoopback gives the test a network namespace, and in it a loopback of an
// MTU. Its thread ends with the test.
func smallLoopback(t *testing.T, mtu uint32) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("no namespaces: %v", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint32(mtu)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFMTU, lo); err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}

// What finds the buffer full is told of.
func TestMissed(t *testing.T) {
	in, out := listen(t, homes[0]), listen(t, homes[0])
	in.SetReadBuffer(1)
	const sent = 200
	for range sent {
		out.WriteToUDPAddrPort(make([]byte, 1000), at(in))
	}
	missed, ok := in.Missed()
	if !ok || missed == 0 {
		t.Fatalf("missed %d, %v", missed, ok)
	}
	receive(t, in, sent-int(missed))
	in.Close()
	if _, ok := in.Missed(); ok {
		t.Error("a closed socket tells")
	}
}

// A run comes in as one message: this is what the speed is from.
func TestJoined(t *testing.T) {
	in, out := listen(t, homes[0]), listen(t, homes[0])
	r := NewRun()
	r.Reset(at(in))
	data := pattern(1, 20*1280)
	for d := data; len(d) > 0; d = d[1280:] {
		r.Append(nil, d[:1280])
	}
	if _, err := out.WriteRun(r); err != nil {
		t.Fatal(err)
	}
	b, err := in.ReadBatch()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	if len(b.messages) != 1 || b.messages[0].segment != 1280 || len(b.messages[0].data) != len(data) || b.messages[0].from != at(out) {
		t.Errorf("%d messages, the first of %d bytes in pieces of %d", len(b.messages), len(b.messages[0].data), b.messages[0].segment)
	}
}
