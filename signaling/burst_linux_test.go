package signaling

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBurst: neither end of a connection paces, whatever the machine's default is.
func TestBurst(t *testing.T) {
	paced := func(network, addr string, raw syscall.RawConn) error { // as by default on some
		raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr")
		})
		return Burst(network, addr, raw)
	}
	config := net.ListenConfig{Control: paced}
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := net.Dialer{Control: paced}
	out, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for name, conn := range map[string]net.Conn{"dialed": out, "accepted": in} {
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			got, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
			if err != nil || strings.HasPrefix(got, "bbr") {
				t.Errorf("the %s connection has %q, %v: want none that paces", name, got, err)
			}
		})
	}
}
