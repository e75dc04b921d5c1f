package natlab

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// homeAndHub is the plainest lab: a host behind a NAT, and a public one.
func homeAndHub(t testing.TB, b Behavior, opts ...Option) (nat *NAT, a, hub *Host) {
	lab := newLab(t)
	hub = Must(lab.PublicHost("hub"))
	nat = Must(lab.NAT("home", b, opts...))
	return nat, Must(nat.Host("a")), hub
}

// connect dials from one host to a new listener on another, and returns the
// two ends.
func connect(t testing.TB, from, to *Host, port uint16) (client, server *net.TCPConn, err error) {
	t.Helper()
	ln, err := to.ListenTCP(netip.AddrPortFrom(netip.Addr{}, port))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	addr := netip.AddrPortFrom(to.Addr(), ln.Addr().(*net.TCPAddr).AddrPort().Port())
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if client, err = from.DialTCP(ctx, addr); err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { client.Close() })
	if server, err = ln.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server, nil
}

// transfer sends data one way and checks that it arrives whole.
func transfer(t testing.TB, from, to net.Conn, size int) {
	t.Helper()
	want := make([]byte, size)
	rand.Read(want)
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(want)
		sent <- err
	}()
	got := make([]byte, size)
	to.SetReadDeadline(time.Now().Add(2 * patience))
	if n, err := io.ReadFull(to, got); err != nil {
		t.Fatalf("received %d of %d bytes: %v", n, size, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("the data changed on its way")
	}
}

func TestTCP(t *testing.T) {
	nat, a, hub := homeAndHub(t, PortRestricted)
	client, server, err := connect(t, a, hub, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := server.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != nat.Addr() {
		t.Errorf("the hub sees %s, want %s", got, nat.Addr())
	}
	transfer(t, client, server, 1<<20)
	transfer(t, server, client, 1<<20)
	if c, _, err := connect(t, hub, a, 0); err == nil {
		t.Errorf("connected to a private address: %s", c.RemoteAddr())
	}
}

// What gets out of each firewall.
func TestFirewall(t *testing.T) {
	for _, tt := range []struct {
		name           string
		firewall       Firewall
		udp, web, mail bool
	}{
		{"open", Open, true, true, true},
		{"no UDP", NoUDP, false, true, true},
		{"web only", WebOnly, false, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, a, hub := homeAndHub(t, Behavior{Firewall: tt.firewall})
			for _, c := range []struct {
				port uint16
				want bool
			}{{80, tt.web}, {443, tt.web}, {25, tt.mail}} {
				if _, _, err := connect(t, a, hub, c.port); (err == nil) != c.want {
					t.Errorf("TCP port %d: %v, want it open: %v", c.port, err, c.want)
				}
			}
			server, p := newParty(t, hub, 443), newParty(t, a, 0)
			if tt.udp {
				p.wantEcho(server.addr, server)
				return
			}
			p.send(server.addr, "blocked")
			self := newParty(t, hub, 0)
			server.silent(self, server.addr)
		})
	}
}

// A host behind its home's NAT behind its provider's.
func TestCarrierGrade(t *testing.T) {
	lab := newLab(t)
	hub := newParty(t, Must(lab.PublicHost("hub")), 0)
	other := newParty(t, Must(lab.PublicHost("other")), hub.addr.Port())
	isp := Must(lab.NAT("isp", Symmetric, CarrierGrade()))
	home1, home2 := Must(isp.NAT("home1", PortRestricted)), Must(isp.NAT("home2", PortRestricted))
	p := newParty(t, Must(home1.Host("a")), 0)
	q := newParty(t, Must(home2.Host("b")), 0)

	shared := netip.MustParsePrefix("100.64.0.0/10")
	for _, home := range []*NAT{home1, home2} {
		if !shared.Contains(home.Addr()) {
			t.Errorf("the WAN address %s of a home is not in %s", home.Addr(), shared)
		}
	}
	p.wantEcho(hub.addr, hub)
	first, second := p.externalOf(hub), p.externalOf(other)
	if first.Addr() != isp.Addr() || second.Addr() != isp.Addr() || first == second {
		t.Errorf("seen as %s and %s, want two ports of %s", first, second, isp.Addr())
	}
	// Homes of one provider reach each other's WAN side without its NAT.
	q.externalOf(hub)
	q.send(netip.AddrPortFrom(home1.Addr(), p.addr.Port()), "opens the filter")
	p.wantEcho(netip.AddrPortFrom(home2.Addr(), q.addr.Port()), q)
}

// The kernel translates a batch (UDP GSO) as one packet.
func TestBatch(t *testing.T) {
	const count, size = 40, 1000
	_, a, hub := homeAndHub(t, Symmetric)
	server, p := newParty(t, hub, 0), newParty(t, a, 0)
	external := p.externalOf(server)
	p.setSegment(size)
	p.send(server.addr, strings.Repeat("x", count*size))
	for range count {
		if text, from := server.receive(); len(text) != size || from != external {
			t.Errorf("received %d bytes from %s, want %d from %s", len(text), from, size, external)
		}
	}
}

// Fragments cross the NAT both ways.
func TestFragments(t *testing.T) {
	_, a, hub := homeAndHub(t, Symmetric)
	server, p := newParty(t, hub, 0), newParty(t, a, 0)
	external := p.externalOf(server)
	for _, size := range []int{1472, 1473, 9000, 60000} {
		want := make([]byte, size)
		rand.Read(want)
		got := make([]byte, size+1)
		for _, way := range []struct {
			from, to *party
			addr     netip.AddrPort
		}{{p, server, server.addr}, {server, p, external}} {
			way.from.send(way.addr, string(want))
			way.to.conn.SetReadDeadline(time.Now().Add(patience))
			n, err := way.to.conn.Read(got)
			if err != nil || !bytes.Equal(got[:n], want) {
				t.Errorf("%d bytes from %s: received %d, %v", size, way.from.addr, n, err)
			}
		}
	}
}

// Only of a packet in fragments does the sender compute the checksum itself;
// the NAT has to keep it right.
func TestUDPChecksum(t *testing.T) {
	_, a, hub := homeAndHub(t, Behavior{Ports: Sequential})
	server, p := newParty(t, hub, 0), newParty(t, a, 0)
	p.externalOf(server)
	arriving := tap(t, hub)
	p.send(server.addr, strings.Repeat("x", 1473))
	first := arriving.next()
	whole := append(first, arriving.next()[20:]...)
	pseudo := append([]byte{0, unix.IPPROTO_UDP}, whole[24:26]...) // RFC 768: and the UDP length
	if s := sum(append(append(pseudo, whole[12:20]...), whole[20:]...)); s != 0xffff {
		t.Errorf("the checksum is wrong: all adds up to %#x", s)
	}
}

func BenchmarkTCPThroughNAT(b *testing.B) {
	_, a, hub := homeAndHub(b, PortRestricted)
	client, server, err := connect(b, a, hub, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(8 << 20)
	for b.Loop() {
		transfer(b, client, server, 8<<20)
	}
}
