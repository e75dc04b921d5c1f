package nat64

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
)

func prefix(s string) Prefix { return Prefix{netip.MustParsePrefix(s)} }

func addrs(texts ...string) (all []netip.Addr) {
	for _, s := range texts {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// The examples of RFC 6052 section 2.4.
func TestEmbed(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.33")
	for text, want := range map[string]string{
		"2001:db8::/32":            "2001:db8:c000:221::",
		"2001:db8:100::/40":        "2001:db8:1c0:2:21::",
		"2001:db8:122::/48":        "2001:db8:122:c000:2:2100::",
		"2001:db8:122:300::/56":    "2001:db8:122:3c0:0:221::",
		"2001:db8:122:344::/64":    "2001:db8:122:344:c0:2:2100::",
		"2001:db8:122:344::/96":    "2001:db8:122:344::192.0.2.33",
		"64:ff9b::/96":             "64:ff9b::192.0.2.33",
		"64:ff9b:1:fffe::/96":      "64:ff9b:1:fffe::192.0.2.33",
		"2001:db8:122:344:0::0/96": "2001:db8:122:344::192.0.2.33",
	} {
		p, six := prefix(text), netip.MustParseAddr(want)
		if got := p.Embed(a); got != six {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
		if got, ok := p.Extract(six); got != a || !ok {
			t.Errorf("%s: %v, %v, want %v", want, got, ok, a)
		}
		if got, ok := p.Extract(six.Next()); ok && p.p.Bits() < 96 {
			t.Errorf("%s and a suffix is taken for %v", want, got)
		}
	}
	if six := netip.MustParseAddr("2001:db8::1"); prefix("64:ff9b::/96").Embed(six) != six || (Prefix{}).Embed(a) != a {
		t.Error("what needs no translation is translated")
	}
}

func TestFind(t *testing.T) {
	for _, bits := range lengths {
		p := Prefix{netip.PrefixFrom(netip.MustParseAddr("2001:db8:aaaa:aa:bb:cccc::"), bits).Masked()}
		if bits == 96 { // without the reserved byte
			p = prefix("2001:db8:aaaa:aa:bb:cccc::/96")
		}
		for n := 1; n <= 2; n++ {
			var answers []netip.Addr
			for _, a := range wellKnown[:n] {
				answers = append(answers, p.Embed(a))
			}
			if got := Find(answers); got != p {
				t.Errorf("%v: found %v, want %v", answers, got, p)
			}
		}
	}
	for _, tt := range []struct {
		name    string
		answers []netip.Addr
		want    Prefix
	}{
		{"nothing", nil, Prefix{}},
		{"no such address", addrs("2001:db8::1", "2001:db8::192.0.0.169"), Prefix{}},
		{"two prefixes", addrs("64:ff9b::192.0.0.170", "64:ff9b::192.0.0.171", "2001:db8::192.0.0.170", "2001:db8::192.0.0.171"), prefix("64:ff9b::/96")},
		{"one makes both", addrs("2001:db8::192.0.0.171", "64:ff9b::192.0.0.171", "64:ff9b::192.0.0.170"), prefix("64:ff9b::/96")},
		{"looks like two", addrs("2001:db8:c000:aa::192.0.0.170"), prefix("2001:db8:c000:aa::/96")},
		{"IPv4 itself", addrs("::ffff:192.0.0.170", "192.0.0.171"), Prefix{}},
		{"link-local", addrs("fe80::192.0.0.170"), Prefix{}},
	} {
		if got := Find(tt.answers); got != tt.want {
			t.Errorf("%s: found %v, want %v", tt.name, got, tt.want)
		}
	}
}

func FuzzFind(f *testing.F) {
	for _, a := range addrs("64:ff9b::192.0.0.170", "64:ff9b::192.0.0.171", "2001:db8:c000:aa::", "2001:db8:122:3c0:0:aa::") {
		f.Add(a.AsSlice(), a.Next().AsSlice())
	}
	f.Fuzz(func(t *testing.T, x, y []byte) {
		var answers []netip.Addr
		for _, b := range [][]byte{x, y} {
			if a, ok := netip.AddrFromSlice(b); ok {
				answers = append(answers, a)
			}
		}
		p := Find(answers)
		if !p.IsValid() {
			return
		}
		explained := false
		for _, a := range wellKnown {
			got, ok := p.Extract(p.Embed(a))
			if !ok || got != a {
				t.Errorf("%v makes %v of %v, and %v of that", p, p.Embed(a), a, got)
			}
			for _, b := range answers {
				explained = explained || b == p.Embed(a)
			}
		}
		if !explained {
			t.Errorf("%v is found in %v, and made none of them", p, answers)
		}
	})
}

// What the resolver says is kept until it says otherwise, silence is not that, and a
// machine with IPv4 needs none of it.
func TestWay(t *testing.T) {
	var answers []netip.Addr
	var fail error
	w := &Way{Lookup: func(_ context.Context, network, host string) ([]netip.Addr, error) {
		if network != "ip6" || host != Name {
			t.Errorf("looked up %s %s", network, host)
		}
		return answers, fail
	}}
	four, six := netip.MustParseAddrPort("192.0.2.1:7"), netip.MustParseAddrPort("[64:ff9b::192.0.2.1]:7")
	var nobody *Way
	for _, way := range []*Way{w, nobody} {
		if got, ok := way.In(six); way.Out(four) != four || got != six || ok {
			t.Error("translated without a prefix")
		}
	}
	seek := func(name string, changes, fails bool, want Prefix) {
		t.Helper()
		if changed, err := w.Seek(t.Context()); changed != changes || (err != nil) != fails || w.Prefix() != want {
			t.Errorf("%s: changed %v, %v, prefix %v; want %v", name, changed, err, w.Prefix(), want)
		}
	}
	known := prefix("64:ff9b::/96")
	answers = addrs("64:ff9b::192.0.0.170", "64:ff9b::192.0.0.171")
	seek("found", true, false, known)
	seek("again", false, false, known)
	if got, ok := w.In(six); w.Out(four) != six || got != four || !ok {
		t.Errorf("%v out, %v, %v in", w.Out(four), got, ok)
	}
	fail = &net.DNSError{Err: "timeout", IsTimeout: true}
	seek("silence", false, true, known)
	fail = errors.New("no resolver")
	seek("failure", false, true, known)
	answers, fail = nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	seek("there is none", true, false, Prefix{})
	answers, fail = addrs("64:ff9b::192.0.0.170"), nil
	seek("back", true, false, known)
	if !w.Forget() || w.Forget() || w.Prefix().IsValid() {
		t.Error("not forgotten, or forgotten twice")
	}
}

// A connection to an IPv4 address that cannot be routed goes through the NAT64, which
// is looked for if need be; all else goes as it is.
func TestDial(t *testing.T) {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	defer ln.Close()
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	unrouted := &net.Dialer{Control: func(network, _ string, _ syscall.RawConn) error {
		if network == "tcp4" {
			return syscall.ENETUNREACH
		}
		return nil
	}}
	answers := addrs("::192.0.0.170") // so 0.0.0.1 is at ::1
	w := &Way{Lookup: func(context.Context, string, string) ([]netip.Addr, error) { return answers, nil }}
	for range 2 { // the prefix is found, and then known
		for _, addr := range []string{"0.0.0.1:" + port, "[::1]:" + port} {
			conn, err := w.DialContext(t.Context(), unrouted, "tcp", addr)
			if err != nil {
				t.Fatalf("%s: %v", addr, err)
			}
			conn.Close()
		}
	}
	w.Forget()
	answers = nil
	if conn, err := w.DialContext(t.Context(), unrouted, "tcp", "0.0.0.1:"+port); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("%v, %v without a NAT64, want %v", conn, err, syscall.ENETUNREACH)
	}
}

// Under the well-known prefix nothing is sent to a private address; under a network's
// own it may be.
func TestRepresents(t *testing.T) {
	for _, text := range []string{"10.1.2.3", "192.168.1.2", "172.16.0.1", "100.64.0.1", "127.0.0.1", "169.254.1.1"} {
		a := netip.MustParseAddr(text)
		if prefix("64:ff9b::/96").represents(a) || !prefix("2001:db8::/96").represents(a) {
			t.Errorf("%s", text)
		}
	}
	if !prefix("64:ff9b::/96").represents(netip.MustParseAddr("192.0.2.1")) {
		t.Error("a global address is not represented")
	}
}
