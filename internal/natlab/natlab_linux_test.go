package natlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(roleEnv); name != "" {
		role(name)
	}
	Main(m)
}

// patience is how long to wait for what must come. No test waits for
// what must not come: it sends something that must come behind it.
const patience = 5 * time.Second

// newLab returns a lab that ends with the test, and checks that nothing of it
// stays behind.
func newLab(t testing.TB) *Lab {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	before := snapshot()
	lab, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
		before.check(t)
	})
	return lab
}

// resources is what a lab uses of this process.
type resources struct{ files, goroutines int }

func snapshot() resources {
	files, _ := os.ReadDir("/proc/self/fd")
	return resources{len(files), runtime.NumGoroutine()}
}

// check waits until no more is in use than before; goroutines that were told to
// end may take a moment.
func (r resources) check(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		now := snapshot()
		if now.files <= r.files && now.goroutines <= r.goroutines {
			return nil
		}
		buf := make([]byte, 1<<16)
		return fmt.Errorf("left behind: had %+v, have %+v\n%s", r, now, buf[:runtime.Stack(buf, true)])
	})
}

// eventually polls until check has no complaint.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A party is a UDP socket on a host.
type party struct {
	t    testing.TB
	conn *net.UDPConn
	addr netip.AddrPort // where others reach it, NATs aside
}

func newParty(t testing.TB, h *Host, port uint16) *party {
	t.Helper()
	conn, err := h.ListenUDP(netip.AddrPortFrom(netip.Addr{}, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return &party{t, conn, netip.AddrPortFrom(h.Addr(), local.Port())}
}

func (p *party) send(to netip.AddrPort, text string) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort([]byte(text), to); err != nil {
		p.t.Fatalf("send %q to %s: %v", text, to, err)
	}
}

// receive returns the next packet, which must come.
func (p *party) receive() (text string, from netip.AddrPort) {
	p.t.Helper()
	buf := make([]byte, 2048)
	p.conn.SetReadDeadline(time.Now().Add(patience))
	n, from, err := p.conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		p.t.Fatalf("receive at %s: %v", p.addr, err)
	}
	return string(buf[:n]), from
}

// externalOf sends from p to a public party and returns the source seen there.
func (p *party) externalOf(to *party) netip.AddrPort {
	p.t.Helper()
	p.send(to.addr, "hello")
	_, from := to.receive()
	return from
}

// silent checks that nothing has come, by sending something behind it: last
// must arrive, and first.
func (p *party) silent(last *party, to netip.AddrPort) {
	p.t.Helper()
	last.send(to, "last")
	if text, from := p.receive(); text != "last" {
		p.t.Errorf("%s received %q from %s, want nothing", p.addr, text, from)
	}
}

// wantEcho sends a packet to the address, and checks that it arrives at the
// party and that the answer comes back from where it was sent to.
func (p *party) wantEcho(to netip.AddrPort, at *party) {
	p.t.Helper()
	p.send(to, "ping")
	text, from := at.receive()
	if text != "ping" {
		p.t.Fatalf("received %q, want ping", text)
	}
	at.send(from, "pong")
	if text, from := p.receive(); text != "pong" || from != to {
		p.t.Fatalf("received %q from %s, want pong from %s", text, from, to)
	}
}

// A closed lab refuses everything; above all it does nothing to the machine.
func TestClosed(t *testing.T) {
	lab := newLab(t)
	home := Must(lab.NAT("home", PortRestricted))
	a := Must(home.Host("a"))
	for range 2 {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, op := range map[string]func() error{
		"PublicHost": func() error { _, err := lab.PublicHost("late"); return err },
		"Host":       func() error { _, err := home.Host("late"); return err },
		"NAT":        func() error { _, err := lab.NAT("late", Full); return err },
		"Flush":      home.Flush,
		"Mappings":   func() error { _, err := home.Mappings(); return err },
		"Renumber":   a.Renumber,
		"AddAddr":    func() error { _, err := a.AddAddr(); return err },
		"Unplug":     a.Unplug,
		"Plug":       a.Plug,
		"Do":         func() error { return a.Do(func() error { return nil }) },
		"ListenUDP":  func() error { _, err := a.ListenUDP(netip.AddrPort{}); return err },
		"Command":    a.Command(t.Context(), "/proc/self/exe").Run,
	} {
		if err := op(); !errors.Is(err, errClosed) {
			t.Errorf("%s in a closed lab: %v, want %v", name, err, errClosed)
		}
	}
}

// A host with two addresses is reached, and answers, by each.
func TestAddAddr(t *testing.T) {
	lab := newLab(t)
	p := newParty(t, Must(lab.PublicHost("p")), 0)
	host := Must(lab.PublicHost("host"))
	second, err := host.AddAddr()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []netip.Addr{host.Addr(), second} {
		conn, err := host.ListenUDP(netip.AddrPortFrom(addr, 3478))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		at := netip.AddrPortFrom(addr, 3478)
		p.wantEcho(at, &party{t, conn, at})
	}
	if host.Addr() == second {
		t.Errorf("both addresses are %s", second)
	}
}

// Two homes may have the same prefix; hosts of one reach each other directly.
func TestLANs(t *testing.T) {
	lab := newLab(t)
	prefix := netip.MustParsePrefix("192.168.1.0/24")
	hub := newParty(t, Must(lab.PublicHost("hub")), 0)
	var addrs []netip.Addr
	for _, name := range []string{"home1", "home2"} {
		home := Must(lab.NAT(name, PortRestricted, LAN(prefix)))
		a, b := Must(home.Host("a")), Must(home.Host("b"))
		pa, pb := newParty(t, a, 0), newParty(t, b, 0)
		pa.wantEcho(pb.addr, pb)
		if got := pa.externalOf(hub).Addr(); got != home.Addr() {
			t.Errorf("%s is seen as %s, want %s", name, got, home.Addr())
		}
		addrs = append(addrs, a.Addr(), b.Addr())
	}
	want := "[192.168.1.2 192.168.1.3 192.168.1.2 192.168.1.3]"
	if got := fmt.Sprint(addrs); got != want {
		t.Errorf("addresses %s, want %s", got, want)
	}
}

func TestFullLAN(t *testing.T) {
	lab := newLab(t)
	home := Must(lab.NAT("home", Full, LAN(netip.MustParsePrefix("10.1.2.8/29"))))
	for i := range 5 {
		if _, err := home.Host(fmt.Sprint("h", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := home.Host("h5"); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("sixth host on a /29: %v, want that it is full", err)
	}
	if _, err := lab.NAT("wide", Full, LAN(netip.MustParsePrefix("10.0.0.0/8"))); err == nil {
		t.Error("a LAN of /8 was accepted")
	}
}

// The tunnels in a lab need IPv6 inside, addresses usable at once, and a way to
// do without.
func TestIPv6(t *testing.T) {
	lab := newLab(t)
	for _, tt := range []struct {
		name string
		opts []Option
		want bool
	}{{"on", nil, true}, {"off", []Option{NoIPv6()}, false}} {
		host := Must(lab.PublicHost(tt.name, tt.opts...))
		conn, err := host.ListenUDP(netip.MustParseAddrPort("[::1]:0"))
		if got := err == nil; got != tt.want {
			t.Errorf("IPv6 %s: socket on ::1: %v", tt.name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}
