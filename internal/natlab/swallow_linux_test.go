package natlab

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// Long datagrams vanish until the link is told otherwise; TCP never does.
func TestSwallow(t *testing.T) {
	a, hub := linked(t, Link{Swallow: 1300})
	to, err := hub.ListenUDP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	from, err := a.ListenUDP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	addr := net.UDPAddr{IP: hub.Addr().AsSlice(), Port: to.LocalAddr().(*net.UDPAddr).Port}
	arrives := func(want int, sizes ...int) {
		t.Helper()
		for _, n := range sizes {
			if _, err := from.WriteTo(make([]byte, n), &addr); err != nil {
				t.Fatal(err)
			}
		}
		to.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, _, err := to.ReadFrom(make([]byte, 2000)); n != want || err != nil {
			t.Errorf("of %v bytes: %d arrive first, %v; want %d", sizes, n, err, want)
		}
	}
	arrives(1272, 1273, 1472, 1272) // and headers of 28
	for _, swallow := range []int{1500, 0} {
		if err := a.Swallow(swallow); err != nil {
			t.Fatal(err)
		}
		arrives(1472, 1472)
	}
	if err := a.Swallow(600); err != nil {
		t.Fatal(err)
	}
	l, err := hub.ListenTCP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := a.DialTCP(t.Context(), netip.AddrPortFrom(hub.Addr(), uint16(l.Addr().(*net.TCPAddr).Port)))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		io.Copy(conn, bytes.NewReader(make([]byte, 1<<20)))
		conn.Close()
	}()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	in.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := io.Copy(io.Discard, in); n != 1<<20 || err != nil {
		t.Errorf("TCP: %d bytes, %v", n, err)
	}
	if err := hub.Swallow(600); err == nil {
		t.Error("an ideal link takes a limit")
	}
}
