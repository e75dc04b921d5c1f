package hub

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

func addrs(s ...string) (a []netip.Addr) {
	for _, x := range s {
		a = append(a, netip.MustParseAddr(x))
	}
	return a
}

func setOf(s ...string) addrSet {
	set := make(addrSet)
	for _, a := range addrs(s...) {
		set[a] = struct{}{}
	}
	return set
}

func TestPublicAddrs(t *testing.T) {
	machine := setOf("127.0.0.1", "::1", "fe80::1", "192.168.1.5", "203.0.113.7", "2001:db8::7", "169.254.3.3", "100.64.0.3", "198.51.100.7")
	tests := []struct {
		name    string
		given   []netip.Addr
		listen  string
		machine addrSet
		want    []netip.Addr
	}{
		{"machine's", nil, ":443", machine, addrs("198.51.100.7", "203.0.113.7", "2001:db8::7")},
		{"listened on", nil, "203.0.113.7:443", machine, addrs("203.0.113.7")},
		{"listened on all", nil, "[::]:443", machine, addrs("198.51.100.7", "203.0.113.7", "2001:db8::7")},
		{"given", addrs("192.168.1.5", "::ffff:203.0.113.9", "203.0.113.9"), ":443", machine, addrs("192.168.1.5", "203.0.113.9")},
		{"private only", nil, ":443", setOf("127.0.0.1", "192.168.1.5", "10.0.0.1"), nil},
		{"nothing", nil, ":443", nil, nil},
		{"too many", addrs("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7", "192.0.2.8", "192.0.2.9"), ":443", machine, nil},
		{"multicast", addrs("224.0.0.1"), ":443", machine, nil},
	}
	for _, tt := range tests {
		got, err := publicAddrs(tt.given, tt.listen, tt.machine)
		if fmt.Sprint(got) != fmt.Sprint(tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%s: got %v, %v; want %v", tt.name, got, err, tt.want)
		}
		if err != nil && config.HintOf(err) == "" {
			t.Errorf("%s: %v has no hint", tt.name, err)
		}
	}
}

func TestPrivateGiven(t *testing.T) {
	for a, want := range map[string]bool{"192.168.1.5": true, "fd00::1": true, "100.64.0.1": true, "203.0.113.1": false, "2001:db8::1": false} {
		if got := privateGiven(addrs(a)); got != want {
			t.Errorf("%s: got %v, want %v", a, got, want)
		}
	}
	if privateGiven(nil) {
		t.Error("none given is private")
	}
}

func TestBindAddrs(t *testing.T) {
	machine := setOf("203.0.113.7", "2001:db8::7", "2001:db8::8")
	tests := []struct {
		public []netip.Addr
		host   string
		want   []string
	}{
		{addrs("203.0.113.7", "2001:db8::7", "2001:db8::8"), "", []string{"203.0.113.7", "2001:db8::7", "2001:db8::8"}},
		{addrs("198.51.100.1", "2001:db8::7"), "", []string{"0.0.0.0", "2001:db8::7"}}, // a router maps IPv4
		{addrs("198.51.100.1", "203.0.113.7"), "", []string{"0.0.0.0", "0.0.0.0"}},     // wildcard and address cannot share a port
		{addrs("198.51.100.1", "2001:db8::9"), "10.0.0.3", []string{"10.0.0.3", "::"}}, // --turn-listen 10.0.0.3:3478
		{addrs("127.0.0.1", "203.0.113.7"), "", []string{"127.0.0.1", "203.0.113.7"}},
	}
	for _, tt := range tests {
		var host netip.Addr
		if tt.host != "" {
			host = netip.MustParseAddr(tt.host)
		}
		binds := bindAddrs(tt.public, host, machine)
		var got []string
		for _, a := range tt.public {
			got = append(got, binds[a].String())
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%v, host %q: got %v, want %v", tt.public, tt.host, got, tt.want)
		}
	}
}

func TestSource(t *testing.T) {
	tests := []struct{ remote, forwarded, source, observed string }{
		{"203.0.113.5:99", "", "203.0.113.5", "203.0.113.5:99"},
		{"[::ffff:203.0.113.5]:99", "", "203.0.113.5", "203.0.113.5:99"},
		{"203.0.113.5:99", "192.0.2.1", "203.0.113.5", "invalid AddrPort"}, // anybody can say so
		{"127.0.0.1:99", "192.0.2.1", "192.0.2.1", "invalid AddrPort"},     // the proxy on this machine
		{"127.0.0.1:99", "192.0.2.1, 198.51.100.2", "198.51.100.2", "invalid AddrPort"},
		{"127.0.0.1:99", "nonsense", "127.0.0.1", "invalid AddrPort"},
		{"127.0.0.1:99", "", "127.0.0.1", "127.0.0.1:99"},
	}
	for _, tt := range tests {
		r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{}}
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		if s, o := source(r).String(), observed(r).String(); s != tt.source || o != tt.observed {
			t.Errorf("%s for %q: source %s, observed %s; want %s, %s", tt.remote, tt.forwarded, s, o, tt.source, tt.observed)
		}
	}
}

func TestStrangers(t *testing.T) {
	s := newStrangers(strangerRate, strangerBurst)
	count := func(addr string) (n int) {
		for range 2 * strangerBurst {
			if s.allow(netip.MustParseAddr(addr)) {
				n++
			}
		}
		return n
	}
	// Some tokens come back while the loop runs.
	almost := func(n int) bool { return n >= strangerBurst && n < strangerBurst+strangerBurst/2 }
	if n := count("192.0.2.1"); !almost(n) {
		t.Errorf("allowed %d, want some %d", n, strangerBurst)
	}
	if n := count("192.0.2.2"); !almost(n) {
		t.Errorf("another source: allowed %d, want some %d", n, strangerBurst)
	}
	count("2001:db8::1")
	if n := count("2001:db8::ffff:1"); n > strangerBurst/2 {
		t.Errorf("the same /64: allowed %d more", n)
	}
	release, ok := s.enter(netip.MustParseAddr("192.0.2.3"))
	if !ok {
		t.Fatal("first connection refused")
	}
	later := time.Now().Add(2 * strangerForget)
	if s.prune(later); len(s.sources) != 1 {
		t.Errorf("%d sources are left, want the one with a connection", len(s.sources))
	}
	release()
	if s.prune(later); len(s.sources) != 0 {
		t.Errorf("%d sources are left", len(s.sources))
	}
}

// Where a member comes from, a stranger who spoofs the address cannot use up
// what the members there may ask for.
func TestKnownAddressesHaveTheirOwnLimit(t *testing.T) {
	known, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	r := &relay{
		relayConfig: relayConfig{admitted: newAdmitted(false)},
		strangers:   newStrangers(strangerRate, strangerBurst), known: newStrangers(knownRate, knownBurst),
	}
	release := r.admitted.hold(config.NewNetworkKey().Public(), known)
	count := func(a netip.Addr) (n int) {
		for range 2 * strangerBurst {
			if r.mayAsk(a) {
				n++
			}
		}
		return n
	}
	if got := count(known); got != 2*strangerBurst {
		t.Errorf("%d of %d replies to a member's address", got, 2*strangerBurst)
	}
	if got := count(other); got < strangerBurst || got > strangerBurst+strangerRate {
		t.Errorf("%d replies to a stranger, want some %d", got, strangerBurst)
	}
	release()
	if got := count(known); got > strangerBurst+strangerRate {
		t.Errorf("%d replies to the address when the member has gone", got)
	}
}
