package e2e

import (
	"net/netip"
	"testing"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

// TestCoturnIPv6: where the hub's relay is out of reach, a machine in a network of IPv6
// alone uses coturn, over UDP, TCP and TLS, and has a relayed address of IPv6 there.
func TestCoturnIPv6(t *testing.T) {
	for transport, uri := range map[string]func(host string) string{
		"UDP": func(host string) string { return "turn:us%40er:pass@" + host + ":3479" },
		"TCP": func(host string) string { return "turn:us%40er:pass@" + host + ":3479?transport=tcp" },
		"TLS": func(host string) string { return "turns:us%40er:pass@" + host },
	} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := newSetup6(t, "--turn-listen", "[::1]:3478")
			server := natlab.Must(s.rig.Lab.PublicHost("coturn", natlab.OnlyIPv6()))
			cert, key := certificateFor(t, server.Addr6())
			args := []string{"--lt-cred-mech", "--user", "us@er:pass", "-L", server.Addr6().String(), "--cert", cert, "--pkey", key}
			if transport != "UDP" {
				args = append(args, "--no-udp")
			}
			s.runCoturn(server, args...)
			a, b := s.rig.Node(s.place("ipv6", "a")), s.rig.Node(natlab.Must(s.rig.Lab.PublicHost("b", natlab.IPv6())))
			a.Env = []string{"SSL_CERT_FILE=" + cert, "P2PTUN_RELAY_OVER=none"} // none of the hub's
			invite := s.create(a, "--relay-only", "--relay", uri("["+server.Addr6().String()+"]"))
			if _, err := b.Up(s.ctx, invite); err != nil {
				t.Fatal(err)
			}
			if err := a.FirstPing(s.ctx, address(1)); err != nil {
				t.Fatal(err)
			}
			p, err := a.Peer(s.ctx, b)
			if err != nil || p.Path != peer.PathRelayed || p.Local.Type != peer.Relayed || netip.MustParseAddrPort(p.Local.Address).Addr() != server.Addr6() {
				t.Errorf("a reaches b by %+v, %v; want coturn's relay", p, err)
			}
			held := func(r tunnel.RelayStatus) bool {
				at, err := netip.ParseAddrPort(r.Address)
				return r.Held && err == nil && at.Addr() == server.Addr6()
			}
			if st, err := a.Status(s.ctx); err != nil || !anyRelay(st, held) {
				t.Errorf("a has the relays %+v, %v", st.Self.Relays, err)
			}
		})
	}
}

func anyRelay(st *tunnel.Status, is func(tunnel.RelayStatus) bool) bool {
	for _, r := range st.Self.Relays {
		if is(r) {
			return true
		}
	}
	return false
}
