package natlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An ICMP error about a UDP packet crosses the NAT both ways (RFC 4787 REQ-14):
// a connected socket learns that the port is closed.
func TestICMPErrors(t *testing.T) {
	// No internal port is preserved, so that the translation shows.
	nat, a, hub := homeAndHub(t, Behavior{Ports: Sequential})
	closed := netip.AddrPortFrom(hub.Addr(), 9)
	arriving := tap(t, a)
	local := wantRefused(t, a, closed)
	arriving.wantError(hub.Addr(), local, closed)

	server, p := newParty(t, hub, 0), newParty(t, a, 0)
	external := p.externalOf(server)
	p.conn.Close()
	arriving = tap(t, hub)
	local = wantRefused(t, hub, external)
	arriving.wantError(nat.Addr(), local, external)
}

// wantRefused sends from a new socket on the host and waits for the refusal.
func wantRefused(t *testing.T, h *Host, to netip.AddrPort) (local netip.AddrPort) {
	t.Helper()
	var conn *net.UDPConn
	err := h.Do(func() (err error) {
		conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("anybody there?")); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%s to closed %s: %v, want %v", h.Name(), to, err, syscall.ECONNREFUSED)
	}
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// wantError waits for an ICMP error, and checks its sums and whom it is from,
// and that it quotes a UDP packet between the two endpoints.
func (l listener) wantError(from netip.Addr, source, destination netip.AddrPort) {
	l.t.Helper()
	packet := l.icmpError()
	header, icmp := packet[:20], packet[20:]
	quoted := icmp[8:28]
	if rest := binary.BigEndian.Uint32(icmp[4:]); rest != 0 {
		l.t.Errorf("the unused field is %#x, want 0", rest)
	}
	for name, b := range map[string][]byte{"IP": header, "ICMP": icmp, "quoted IP": quoted} {
		if s := sum(b); s != 0xffff {
			l.t.Errorf("the %s checksum is wrong: all adds up to %#x", name, s)
		}
	}
	got := fmt.Sprint(addrAt(header, 12), endpoint(icmp, 8+12, 8+20), endpoint(icmp, 8+16, 8+22))
	want := fmt.Sprint(from, source, destination)
	if got != want {
		l.t.Errorf("error, quoted source and destination are %s, want %s", got, want)
	}
}

// icmpError returns the next packet with a "destination unreachable".
func (l listener) icmpError() []byte {
	l.t.Helper()
	for {
		packet := l.next()
		if packet[9] == unix.IPPROTO_ICMP && packet[20] == 3 {
			return packet
		}
	}
}
