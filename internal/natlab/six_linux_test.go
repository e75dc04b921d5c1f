package natlab

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// newParty6 is newParty for IPv6, on the host's newest stable address.
func newParty6(t testing.TB, h *Host, port uint16) *party {
	t.Helper()
	return newPartyAt(t, h, netip.AddrPortFrom(h.Addr6(), port))
}

func newPartyAt(t testing.TB, h *Host, at netip.AddrPort) *party {
	t.Helper()
	conn, err := h.ListenUDP(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &party{t, conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

// Public hosts have IPv4, both or IPv6 alone, also by an emulated link that was
// pulled.
func TestPublicIPv6(t *testing.T) {
	lab := newLab(t)
	four := Must(lab.PublicHost("four"))
	both := Must(lab.PublicHost("both", IPv6(), Through(Link{Delay: time.Millisecond})))
	six := Must(lab.PublicHost("six", OnlyIPv6()))
	if four.Addr6().IsValid() || !both.Addr().Is4() || six.Addr() != six.Addr6() {
		t.Errorf("four has %v, both %v, six %v", four.Addr6(), both.Addr(), six.Addr())
	}
	p4, at4 := newParty(t, four, 0), newParty(t, both, 0)
	p4.wantEcho(at4.addr, at4)
	p6, at6 := newParty6(t, six, 0), newParty6(t, both, 0)
	p6.wantEcho(at6.addr, at6)
	if err := both.Unplug(); err != nil {
		t.Fatal(err)
	}
	if err := both.Plug(); err != nil {
		t.Fatal(err)
	}
	p6.wantEcho(at6.addr, at6)
	if _, err := six.DialTCP(t.Context(), netip.AddrPortFrom(four.Addr(), 80)); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("IPv4 from a host without it: %v, want that it is unreachable", err)
	}
}

// A firewall that tracks state lets in exactly what was asked for, and two of them
// are opened from both sides.
func TestFirewall6(t *testing.T) {
	lab := newLab(t)
	a := newParty6(t, Must(Must(lab.NAT("home", Symmetric, IPv6())).Host("a")), 0)
	b := newParty6(t, Must(Must(lab.NAT("other", Symmetric, OnlyIPv6())).Host("b")), 0)
	hub := Must(lab.PublicHost("hub", IPv6()))
	hub1, hub2 := newParty6(t, hub, 3478), newParty6(t, hub, 3479)
	hub1.send(a.addr, "unasked")
	if got := a.externalOf(hub1); got != a.addr {
		t.Errorf("seen at %v, want untranslated %v", got, a.addr)
	}
	hub2.send(a.addr, "from another port")
	a.silent(hub1, a.addr)

	a.send(b.addr, "punch") // dropped there, and opens the way here
	b.send(a.addr, "through")
	if text, from := a.receive(); text != "through" || from != b.addr {
		t.Errorf("received %q from %v", text, from)
	}
	a.send(b.addr, "and back")
	if text, _ := b.receive(); text != "and back" {
		t.Errorf("received %q, want what came after the way was open", text)
	}
}

// What other routers let in and out.
func TestOpenIPv6(t *testing.T) {
	lab := newLab(t)
	hub := newParty6(t, Must(lab.PublicHost("hub", IPv6())), 0)
	open := newParty6(t, Must(Must(lab.NAT("open", Full, OpenIPv6())).Host("a")), 0)
	hub.wantEcho(open.addr, open)
	web := Must(Must(lab.NAT("web", Behavior{Firewall: WebOnly}, IPv6())).Host("b"))
	blocked := newParty6(t, web, 0)
	blocked.send(hub.addr, "UDP")
	hub.silent(open, hub.addr)
	server := Must(lab.PublicHost("server", IPv6()))
	ln, err := server.ListenTCP(netip.MustParseAddrPort("[::]:443"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := web.DialTCP(t.Context(), netip.AddrPortFrom(server.Addr6(), 443))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// A new prefix comes beside the old one, which is deprecated, and then gone.
func TestRenumber6(t *testing.T) {
	lab := newLab(t)
	hub := newParty6(t, Must(lab.PublicHost("hub", IPv6())), 0)
	home := Must(lab.NAT("home", Full, IPv6()))
	host := Must(home.Host("a"))
	before, prefix := newParty6(t, host, 0), home.LAN6()
	if err := home.Renumber6(); err != nil {
		t.Fatal(err)
	}
	if home.LAN6() == prefix || !home.LAN6().Contains(host.Addr6()) {
		t.Errorf("from %v to %v, and the host is at %v", prefix, home.LAN6(), host.Addr6())
	}
	before.wantEcho(hub.addr, hub) // the old address works still
	if !isDeprecated(t, host, before.addr.Addr()) || isDeprecated(t, host, host.Addr6()) {
		t.Errorf("deprecated: old %v, new %v", isDeprecated(t, host, before.addr.Addr()), isDeprecated(t, host, host.Addr6()))
	}
	chosen := newPartyAt(t, host, netip.MustParseAddrPort("[::]:0"))
	if got := chosen.externalOf(hub).Addr(); got != host.Addr6() {
		t.Errorf("the kernel sends from %v, want the new %v", got, host.Addr6())
	}
	if err := home.Withdraw6(); err != nil {
		t.Fatal(err)
	}
	if _, err := host.ListenUDP(netip.AddrPortFrom(before.addr.Addr(), 0)); err == nil {
		t.Error("the old address is there still")
	}
	after := newParty6(t, host, 0)
	after.wantEcho(hub.addr, hub)
	if err := home.Unplug(); err != nil {
		t.Fatal(err)
	}
	if err := home.Plug(); err != nil {
		t.Fatal(err)
	}
	after.wantEcho(hub.addr, hub)
}

func isDeprecated(t *testing.T, h *Host, a netip.Addr) (is bool) {
	t.Helper()
	err := h.ns.onLink("eth0", "look at", func(link netlink.Link) error {
		all, err := h.ns.handle.AddrList(link, netlink.FAMILY_V6)
		for _, x := range all {
			is = is || x.IP.Equal(a.AsSlice()) && x.Flags&unix.IFA_F_DEPRECATED != 0
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// Temporary addresses are what the kernel sends from.
func TestTemporaryAddrs(t *testing.T) {
	lab := newLab(t)
	hub := newParty6(t, Must(lab.PublicHost("hub", IPv6())), 0)
	home := Must(lab.NAT("home", Full, IPv6()))
	host := Must(home.Host("a", TemporaryAddrs()))
	p := newPartyAt(t, host, netip.MustParseAddrPort("[::]:0"))
	if got := p.externalOf(hub).Addr(); got == host.Addr6() || !home.LAN6().Contains(got) {
		t.Errorf("the host at %v sends from %v, want another of its prefix", host.Addr6(), got)
	}
}

// A host without IPv4 reaches IPv4 through the NAT64 of its router, which maps and
// filters like any NAT, and learns the prefix from the resolver that its programs
// ask.
//
//	a (IPv6) ── router: NAT64, NAT ── core ── server (IPv4)
func TestNAT64(t *testing.T) {
	if err := NAT64Available(); err != nil {
		t.Skip(err)
	}
	for _, text := range []string{"2001:db8:64::/96", "2001:db8:64::/64", "2001:db8:6464::/48"} {
		t.Run(text, func(t *testing.T) {
			lab := newLab(t)
			prefix := netip.MustParsePrefix(text)
			server := Must(lab.PublicHost("server"))
			s1, s2 := newParty(t, server, 3478), newParty(t, server, 3479)
			home := Must(lab.NAT("home", PortRestricted, NAT64(prefix)))
			host := Must(home.Host("a"))
			a := newParty6(t, host, 0)
			at := netip.AddrPortFrom(embed(prefix, server.Addr()), 3478)
			a.send(at, "ping")
			_, external := s1.receive()
			if external.Addr() != home.Addr() {
				t.Errorf("seen at %v, want the router's %v", external, home.Addr())
			}
			s2.send(external, "from another port")
			s1.send(external, "pong")
			if text, from := a.receive(); text != "pong" || from != at {
				t.Errorf("received %q from %v, want the answer of %v", text, from, at)
			}
			out, err := command(t.Context(), host, "lookup").Output()
			want := fmt.Sprint([]netip.Addr{embed(prefix, ipv4onlyAddrs[0]), embed(prefix, ipv4onlyAddrs[1])}, " <nil>\n")
			if string(out) != want || err != nil {
				t.Errorf("looked up %q, %v; want %q", out, err, want)
			}
		})
	}
}

// The resolver is that of the network's hosts alone.
func TestResolverIsPrivate(t *testing.T) {
	if err := NAT64Available(); err != nil {
		t.Skip(err)
	}
	lab := newLab(t)
	home := Must(lab.NAT("home", PortRestricted, NAT64(netip.MustParsePrefix("2001:db8:64::/96"))))
	host, other := Must(home.Host("a")), Must(lab.PublicHost("other"))
	want := fmt.Sprintf("nameserver %s\n", resolver64)
	if out, err := host.Command(t.Context(), "/bin/cat", resolvConf).Output(); string(out) != want || err != nil {
		t.Errorf("a's resolver: %q, %v; want %q", out, err, want)
	}
	mine, err := exec.Command("/bin/cat", resolvConf).Output()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := other.Command(t.Context(), "/bin/cat", resolvConf).Output(); string(out) != string(mine) || err != nil || string(out) == want {
		t.Errorf("another's resolver: %q, %v; want the machine's %q", out, err, mine)
	}
}
