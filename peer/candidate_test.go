package peer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestCandidateLines(t *testing.T) {
	ap := netip.MustParseAddrPort
	tests := []struct {
		c    Candidate
		want string // less the foundation, which only has to be there
	}{
		{Candidate{Type: Host, Addr: ap("192.0.2.1:7")}, "1 udp 2130704639 192.0.2.1 7 typ host"},
		{Candidate{Type: Host, Addr: ap("[2001:db8::1]:7")}, "1 udp 2130704639 2001:db8::1 7 typ host"},
		{Candidate{Type: ServerReflexive, Addr: ap("203.0.113.1:9"), Base: ap("192.0.2.1:7")}, "1 udp 1694497023 203.0.113.1 9 typ srflx raddr 192.0.2.1 rport 7"},
		{Candidate{Type: ServerReflexive, Addr: ap("203.0.113.1:9")}, "1 udp 1694497023 203.0.113.1 9 typ srflx raddr 0.0.0.0 rport 9"},
		{Candidate{Type: Relayed, Addr: ap("[2001:db8::9]:8")}, "1 udp 16775423 2001:db8::9 8 typ relay raddr :: rport 9"},
	}
	for _, tt := range tests {
		c, err := tt.c.build(65528)
		if err != nil {
			t.Errorf("%+v: %v", tt.c, err)
			continue
		}
		foundation, line, _ := strings.Cut(c.Marshal(), " ")
		if line != tt.want || foundation == "" {
			t.Errorf("%+v:\ngot  %q\nwant %q", tt.c, line, tt.want)
		}
		back, addr, err := parseCandidate(c.Marshal(), nil)
		if err != nil || addr != tt.c.Addr || back.Priority() != c.Priority() {
			t.Errorf("%q read as %v %v %v", c.Marshal(), back, addr, err)
		}
	}
	if _, err := (Candidate{Type: PeerReflexive, Addr: ap("192.0.2.1:7")}).build(1); err == nil {
		t.Error("a prflx candidate was built")
	}
}

func TestParseCandidate(t *testing.T) {
	line := func(transport, addr string, port int, typ string) string {
		return fmt.Sprintf("1 1 %s 1694498815 %s %d typ %s", transport, addr, port, typ)
	}
	allow := func(a netip.Addr) bool { return !netip.MustParsePrefix("10.77.0.0/16").Contains(a) }
	tests := []struct {
		name, line string
		ok         bool
	}{
		{"host", line("udp", "192.0.2.1", 5, "host"), true},
		{"with prefix", "candidate:" + line("udp", "192.0.2.1", 5, "host"), true},
		{"private", line("udp", "192.168.1.1", 5, "host"), true},
		{"IPv6", line("udp", "2001:db8::1", 5, "host"), true},
		{"relay", line("udp", "192.0.2.1", 5, "relay raddr 0.0.0.0 rport 9"), true},
		{"overlay", line("udp", "10.77.1.1", 5, "host"), false},
		{"loopback", line("udp", "127.0.0.1", 5, "host"), false},
		{"loopback IPv6", line("udp", "::1", 5, "host"), false},
		{"mapped loopback", line("udp", "::ffff:127.0.0.1", 5, "host"), false},
		{"mapped", line("udp", "::ffff:192.0.2.1", 5, "host"), false},
		{"unspecified", line("udp", "0.0.0.0", 5, "host"), false},
		{"multicast", line("udp", "224.0.0.1", 5, "host"), false},
		{"multicast IPv6", line("udp", "ff02::1", 5, "host"), false},
		{"broadcast", line("udp", "255.255.255.255", 5, "host"), false},
		{"link-local IPv6", line("udp", "fe80::1", 5, "host"), false},
		{"port 0", line("udp", "192.0.2.1", 0, "host"), false},
		{"TCP", line("tcp", "192.0.2.1", 5, "host tcptype passive"), false},
		{"mDNS", line("udp", "0f1e2d3c.local", 5, "host"), false},
		{"name", line("udp", "example.com", 5, "host"), false},
		{"component 2", strings.Replace(line("udp", "192.0.2.1", 5, "host"), "1 1 ", "1 2 ", 1), false},
		{"long", line("udp", "192.0.2.1", 5, "host") + strings.Repeat(" x y", 100), false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		if _, _, err := parseCandidate(tt.line, allow); (err == nil) != tt.ok {
			t.Errorf("%s: error %v, want ok %v", tt.name, err, tt.ok)
		}
	}
}
