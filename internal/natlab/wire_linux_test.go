package natlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// linked is a lab with a host behind a link and a public one.
func linked(t testing.TB, k Link) (a, hub *Host) {
	lab := newLab(t)
	return Must(lab.PublicHost("a", Through(k))), Must(lab.PublicHost("hub"))
}

func TestLinkDelay(t *testing.T) {
	const delay = 20 * time.Millisecond
	a, hub := linked(t, Link{Delay: delay})
	p, server := newParty(t, a, 0), newParty(t, hub, 0)
	p.wantEcho(server.addr, server) // and the neighbours are known
	least := time.Hour
	for range 5 {
		start := time.Now()
		p.wantEcho(server.addr, server)
		least = min(least, time.Since(start))
	}
	if least < 2*delay || least > 2*delay+15*time.Millisecond {
		t.Errorf("round trip %v, want a little over %v", least, 2*delay)
	}
}

// Half of the packets are lost, and the rest arrives in order.
func TestLinkLoss(t *testing.T) {
	const count = 400
	a, hub := linked(t, Link{Loss: 0.5, Seed: 3})
	p, server := newParty(t, a, 0), newParty(t, hub, 0)
	if err := server.conn.SetReadBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	p.insist(server, "0 begin") // the kernel may reorder while it looks for the next hop
	for i := range count {
		p.send(server.addr, fmt.Sprintf("1 %04d", i))
	}
	got := p.insist(server, "2 end")
	if len(got) < count*4/10 || len(got) > count*6/10 {
		t.Errorf("%d of %d packets came through, want about half", len(got), count)
	}
	if !slices.IsSorted(got) {
		t.Errorf("packets came out of order: %q", got)
	}
}

// insist sends a text until it comes through, and returns what comes before.
func (p *party) insist(to *party, text string) (before []string) {
	p.t.Helper()
	buf := make([]byte, 64)
	for range 100 {
		p.send(to.addr, text)
		for {
			to.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			n, err := to.conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				p.t.Fatal(err)
			}
			if string(buf[:n]) == text {
				return before
			}
			before = append(before, string(buf[:n]))
		}
	}
	p.t.Fatalf("none of 100 times %q came through", text)
	return nil
}

func TestLinkRate(t *testing.T) {
	const rate, size = 40e6, 1 << 20
	a, hub := linked(t, Link{Rate: rate})
	client, server, err := connect(t, a, hub, 0)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	transfer(t, client, server, size)
	took := time.Since(start)
	least := time.Duration(size * 8 * int(time.Second) / rate)
	if took < least || took > 3*least {
		t.Errorf("%d bytes took %v, want a little over %v", size, took, least)
	}
}

// A batch is taken apart before the wire: its packets are lost one by one, not
// all or none.
func TestLinkBatches(t *testing.T) {
	const count, size = 40, 1000
	a, hub := linked(t, Link{Loss: 0.5})
	p, server := newParty(t, a, 0), newParty(t, hub, 0)
	p.insist(server, "begin")
	p.setSegment(size)
	p.send(server.addr, strings.Repeat("x", count*size))
	got := p.insist(server, "end")
	if len(got) == 0 || len(got) == count {
		t.Errorf("%d of %d packets of one batch came through, want some", len(got), count)
	}
}

// setSegment makes the socket send every write as packets of that size, which
// the kernel handles as one (UDP GSO).
func (p *party) setSegment(size int) {
	p.t.Helper()
	raw, err := p.conn.SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size)
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// A cable out is a cable out, with and without emulation.
func TestUnplug(t *testing.T) {
	for name, k := range map[string]Link{"ideal": {}, "emulated": {Delay: time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			a, hub := linked(t, k)
			p, server := newParty(t, a, 0), newParty(t, hub, 0)
			p.wantEcho(server.addr, server)
			if err := a.Unplug(); err != nil {
				t.Fatal(err)
			}
			wantCarrier(t, a, false)
			if err := a.Plug(); err != nil {
				t.Fatal(err)
			}
			p.wantEcho(server.addr, server)
		})
	}
}

func wantCarrier(t *testing.T, h *Host, want bool) {
	t.Helper()
	eventually(t, func() error {
		var iface *net.Interface
		err := h.Do(func() (err error) {
			iface, err = net.InterfaceByName("eth0")
			return err
		})
		if err == nil && iface.Flags&net.FlagRunning != 0 != want {
			err = fmt.Errorf("carrier of %s: %v, want %v", h.Name(), !want, want)
		}
		return err
	})
}

// A router with a smaller MTU behind it says so through the NAT.
func TestLinkMTU(t *testing.T) {
	lab := newLab(t)
	hub := newParty(t, Must(lab.PublicHost("hub")), 0)
	home := Must(lab.NAT("home", PortRestricted, Through(Link{MTU: 1400})))
	p := newParty(t, Must(home.Host("a")), 0)
	external := p.externalOf(hub)
	raw, err := hub.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	if err != nil {
		t.Fatal(err)
	}
	hub.send(external, strings.Repeat("x", 1400-28))
	if text, _ := p.receive(); len(text) != 1400-28 {
		t.Errorf("received %d bytes, want %d", len(text), 1400-28)
	}
	large := []byte(strings.Repeat("x", 1400-27))
	eventually(t, func() error {
		_, err := hub.conn.WriteToUDPAddrPort(large, external)
		if !errors.Is(err, syscall.EMSGSIZE) {
			return fmt.Errorf("sent a packet larger than the path: %v, want %v", err, syscall.EMSGSIZE)
		}
		return nil
	})
}
