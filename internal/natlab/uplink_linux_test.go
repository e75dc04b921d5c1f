package natlab

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A host with two routers, as a laptop on Wi-Fi with a phone beside it.
//
//	           ┌─ home ── eth0 ─┐
//	far ─ core ┤                a
//	           └─ phone ─ eth1 ─┘
func TestUplinks(t *testing.T) {
	lab := newLab(t)
	far := newParty(t, Must(lab.PublicHost("far")), 3478)
	home, phone := Must(lab.NAT("home", PortRestricted)), Must(lab.NAT("phone", PortRestricted))
	a := Must(home.Host("a"))
	first := a.FirstUplink()
	second := Must(a.AddUplink(phone))
	if got := second.Addr(); !phone.LAN().Contains(got) || first.Addr() != a.Addr() {
		t.Errorf("at %s in %s, and %s is not %s", got, phone.LAN(), first.Addr(), a.Addr())
	}
	p, pinned := newParty(t, a, 0), newParty(t, a, 0)
	raw := Must(pinned.conn.SyscallConn())
	raw.Control(func(fd uintptr) {
		if err := unix.BindToDevice(int(fd), "eth0"); err != nil {
			t.Fatal(err)
		}
	})
	leaves := func(when string, p *party, want netip.Addr) {
		t.Helper()
		if got := p.externalOf(far).Addr(); got != want {
			t.Errorf("%s: leaves by %s, want %s", when, got, want)
		}
	}
	leaves("at first", p, home.Addr())
	for _, step := range []struct {
		name string
		do   func(*Uplink) error
		via  *Uplink
		want netip.Addr
	}{
		{"second preferred", a.Prefer, second, phone.Addr()},
		{"first preferred", a.Prefer, first, home.Addr()},
		{"second alone", a.DefaultVia, second, phone.Addr()},
		{"second preferred again", a.Prefer, second, phone.Addr()},
		{"first alone", a.DefaultVia, first, home.Addr()},
		{"second preferred at last", a.Prefer, second, phone.Addr()},
	} {
		if err := step.do(step.via); err != nil {
			t.Fatal(err)
		}
		leaves(step.name, p, step.want)
		if step.name != "second alone" {
			leaves(step.name+", by eth0", pinned, home.Addr())
		}
	}
	if err := a.DefaultVia(second); err != nil {
		t.Fatal(err)
	}
	pinned.send(far.addr, "to the LAN alone")
	far.silent(newParty(t, a, 0), far.addr)
}
