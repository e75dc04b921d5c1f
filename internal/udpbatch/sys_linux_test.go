package udpbatch

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func option(t *testing.T, c *Conn, level, option int, value []byte) {
	t.Helper()
	var err error
	if e := c.raw.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), level, option, string(value)) }); e != nil {
		t.Fatal(e)
	}
	if err != nil {
		t.Skipf("socket option: %v", err)
	}
}

// The kernel refuses to cut without checksums, which it computes only while it
// cuts (EINVAL, this time), and where no device computes them (EIO, for good):
// extension headers of IPv6 stand for such a device. What is refused goes one
// by one.
func TestRefusedGSO(t *testing.T) {
	for _, tt := range []struct {
		name          string
		family        int
		level, option int
		value         []byte
		after         bool // still in one piece, next time
	}{
		{"EINVAL", 0, unix.SOL_SOCKET, unix.SO_NO_CHECK, []byte{1, 0, 0, 0}, true},
		{"EIO", 1, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, []byte{0, 0, 1, 4, 0, 0, 0, 0}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, out := listen(t, homes[tt.family]), listen(t, homes[tt.family])
			option(t, out, tt.level, tt.option, tt.value)
			r := NewRun()
			r.Reset(at(in))
			for i := range 10 {
				r.Append(nil, pattern(i, 500))
			}
			if errno, err := r.sendJoined(out.raw, toSockaddr(&r.sys.name, r.to)); errno == 0 || err != nil {
				t.Skipf("this kernel cuts: %v, %v", errno, err)
			}
			if n, err := out.WriteRun(r); n != 10 || err != nil {
				t.Fatalf("sent %d: %v", n, err)
			}
			for i, d := range receive(t, in, 10) {
				if !slices.Equal(d, pattern(i, 500)) {
					t.Errorf("datagram %d differs", i)
				}
			}
			if out.GSO() != tt.after {
				t.Errorf("in one piece from now on: %v", out.GSO())
			}
		})
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
