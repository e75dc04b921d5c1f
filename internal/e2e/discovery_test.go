package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer/behavior"
)

// These hold our client against another server, and our server against other clients:
// coturn's, as Debian has them.

func requireProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("coturn's %s is not installed", name)
	}
	return path
}

// discoverFrom runs the tests on a host of the lab.
func discoverFrom(ctx context.Context, host *natlab.Host, servers ...netip.AddrPort) (behavior.Report, error) {
	return behavior.Discover(ctx, behavior.Config{
		Servers:   servers,
		IsAddress: func(a netip.Addr) bool { return a == host.Addr() },
		Open: func(bool) (behavior.Socket, error) {
			c, err := host.ListenUDP(netip.AddrPort{})
			if err != nil {
				return nil, err
			}
			return behavior.Wrap(c), nil
		},
	})
}

// TestDiscoverWithCoturn: the tests find the same with another server of RFC 5780.
func TestDiscoverWithCoturn(t *testing.T) {
	server := requireProgram(t, "turnserver")
	s := newNetcheckSetup(t, false)
	host := natlab.Must(s.rig.Lab.PublicHost("coturn"))
	second := natlab.Must(host.AddAddr())
	p, err := s.rig.run(host.Command(s.ctx, server, "-n", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--no-auth",
		"-L", host.Addr().String(), "-L", second.String(), "-p", "3478", "-r", "realm", "--log-file", "stdout", "--simple-log",
		"--pidfile", filepath.Join(s.rig.Dir, "coturn.pid"), "--userdb", filepath.Join(s.rig.Dir, "coturn.db")), "coturn")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(host.Addr(), 3478)
	for up := false; !up; { // it answers when it is up
		if s.ctx.Err() != nil {
			t.Fatal(p.Text())
		}
		r, err := discoverFrom(s.ctx, s.hubHost, at)
		up = err == nil && r.IPv4.Answered
	}
	var all sync.WaitGroup
	for _, c := range netcheckCases {
		if c.place == "no-udp" {
			continue
		}
		from := s.checkPlace(c.place)
		all.Go(func() {
			r, err := discoverFrom(s.ctx, from, at)
			four := r.IPv4
			if got := fmt.Sprint(four.Mapping, " ", four.Filtering, " ", four.Classic, " ", four.Allocation); err != nil || got != fmt.Sprint(c.mapping, " ", c.filtering, " ", c.classic, " ", c.ports) {
				t.Errorf("%s: %s, %v, want %s, %s, %s, %s", c.place, got, err, c.mapping, c.filtering, c.classic, c.ports)
			}
		})
	}
	all.Wait()
}

// output runs a program on a host and returns all that it says.
func (s *setup) output(host *natlab.Host, program string, args ...string) string {
	s.t.Helper()
	out, err := host.Command(s.ctx, requireProgram(s.t, program), args...).CombinedOutput()
	s.t.Logf("%s %q on %s: %v\n%s", program, args, host.Name(), err, out)
	return string(out)
}

// TestOtherClientsDiscover: coturn's clients find out the same from our hub, of two
// addresses. Of a hub with one they say what it says: no more than an address.
func TestOtherClientsDiscover(t *testing.T) {
	const independent, address, port = "Endpoint Independent", "Address Dependent", "Address and Port Dependent"
	for _, second := range []bool{true, false} {
		t.Run(fmt.Sprintf("second address %v", second), func(t *testing.T) {
			s := newNetcheckSetup(t, second)
			hub := s.hubHost.Addr().String()
			var all sync.WaitGroup
			for kind, want := range map[string][2]string{
				"public": {independent, independent}, "full": {independent, independent}, "address": {independent, address},
				"port": {independent, port}, "symmetric": {port, port},
			} {
				from := s.place(kind, kind)
				all.Go(func() {
					text := s.output(from, "turnutils_natdiscovery", "-m", "-f", hub)
					lines := []string{"NAT with " + want[0] + " Mapping!", "NAT with " + want[1] + " Filtering!", "Other addr: : "}
					for _, line := range lines {
						if strings.Contains(text, line) != second {
							t.Errorf("%s: a line %q: %v, want %v", kind, line, !second, second)
						}
					}
					if !strings.Contains(text, "UDP reflexive addr: ") {
						t.Errorf("%s: no address", kind)
					}
				})
			}
			all.Wait()
			// It takes its own port for the one outside, so it is for hosts without a NAT.
			text := s.output(natlab.Must(s.rig.Lab.PublicHost("other")), "turnutils_stunclient", hub)
			if answers := strings.Count(text, "RFC 5780 response"); second && answers != 2 || !second && answers != 0 || !strings.Contains(text, "UDP reflexive addr: ") {
				t.Errorf("%d answers", answers)
			}
		})
	}
}

// TestOtherClientRelays: coturn's TURN client relays through our hub with the
// credentials of a member, to where another member is, by channels and by Send
// indications, over UDP, and over TCP and TLS at the HTTPS port.
func TestOtherClientRelays(t *testing.T) {
	s := newNetcheckSetup(t, false)
	client, echo := s.place("port", "port"), natlab.Must(s.rig.Lab.PublicHost("echo"))
	network := config.NewNetworkKey()
	s.member(echo, network, 1)
	peer, err := s.rig.run(echo.Command(s.ctx, requireProgram(t, "turnutils_peer"), "-L", echo.Addr().String(), "-p", "3480", "-v"), "echo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Expect(s.ctx, "0: : udp_create_server_socket:98:end"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i, how := range [][]string{{"-c"}, {"-cs"}, {"-c", "-t", "-p", "443"}, {"-c", "-t", "-S", "-p", "443"}} {
		all.Go(func() {
			const tries = 50
			text := "error 508"
			for try := 0; try < tries && strings.Contains(text, "error 508"); try++ {
				// By lot it asks for an even port, which the hub has not (RFC 8656 section
				// 7.2), and it leaves behind what it had: so each is another member.
				cred := s.member(client, network, 2+i*tries+try).Credentials
				args := append(slices.Clone(how), "-v", "-n", "20", "-e", echo.Addr().String(), "-u", cred.Username, "-w", cred.Password, s.hubHost.Addr().String())
				text = s.output(client, "turnutils_uclient", args...)
			}
			if !strings.Contains(text, "Total lost packets 0 (0.000000%)") || !strings.Contains(text, "tot_send_msgs=20, tot_recv_msgs=20") {
				t.Errorf("%s: packets were lost", how)
			}
		})
	}
	all.Wait()
}

// member connects a member from a host until the test ends.
func (s *setup) member(from *natlab.Host, network config.NetworkPrivateKey, number int) *Member {
	s.t.Helper()
	link, err := config.ParseHubLink(s.hub.Link)
	if err != nil {
		panic(err) // the hub has printed it
	}
	m, err := ConnectMember(s.ctx, link, network, number, func(ctx context.Context, _, addr string) (net.Conn, error) {
		return from.DialTCP(ctx, netip.MustParseAddrPort(addr))
	})
	if err != nil {
		s.t.Errorf("member %d: %v", number, err)
		return new(Member)
	}
	s.t.Cleanup(func() { m.Close() })
	return m
}
