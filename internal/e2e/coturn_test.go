package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

// coturn runs a TURN server that is not the hub's on a host of its own, for
// everybody or for the user us@er with the password pass.
func (s *setup) coturn(name string, open bool) (host *natlab.Host, kill func()) {
	s.t.Helper()
	host = natlab.Must(s.rig.Lab.PublicHost(name))
	users := []string{"--lt-cred-mech", "--user", "us@er:pass"}
	if open {
		users = []string{"--no-auth"}
	}
	return host, s.runCoturn(host, append(users, "--no-tls", "--no-tcp", "-L", host.Addr().String())...)
}

// runCoturn runs a TURN server on port 3479 of a host.
func (s *setup) runCoturn(host *natlab.Host, args ...string) (kill func()) {
	s.t.Helper()
	server, err := exec.LookPath("turnserver")
	if err != nil {
		s.t.Skip("coturn's turnserver is not installed")
	}
	name := host.Name()
	cmd := host.Command(context.WithoutCancel(s.ctx), server, append(args, "-n", "--no-cli", "--no-dtls", "--no-rfc5780",
		"-p", "3479", "-r", "realm",
		"--pidfile", filepath.Join(s.rig.Dir, name+".pid"), "--log-file", "stdout", "--simple-log")...)
	logs, err := os.Create(filepath.Join(s.rig.Dir, name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = logs, logs
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	logs.Close()
	kill = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	s.t.Cleanup(func() {
		kill()
		if b, err := os.ReadFile(logs.Name()); err == nil && s.t.Failed() {
			s.t.Logf("log of %s:\n%s", name, b)
		}
	})
	return kill
}

// relay waits until the node has what cond wants of a relay.
func (s *setup) relay(n *Node, server *natlab.Host, within time.Duration, what string, cond func(tunnel.RelayStatus) bool) {
	s.t.Helper()
	var last any
	for deadline := time.Now().Add(within); ; {
		st, err := n.Status(s.ctx)
		if last = err; err == nil {
			last = st.Self.Relays
			for _, r := range st.Self.Relays {
				if netip.MustParseAddrPort(r.Server).Addr() == server.Addr() && cond(r) {
					return
				}
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: not %s: %+v", n.Name, what, last)
		}
	}
}

// TestOwnRelay: a relay beside the hub's is held with it, and each carries on
// where the other has died.
func TestOwnRelay(t *testing.T) {
	s := newSetupFor(t, 2*time.Minute, "debug")
	server, kill := s.coturn("coturn", false)
	uri := fmt.Sprintf("turn:us%%40er:pass@%s:3479", server.Addr())
	file := filepath.Join(s.rig.Dir, "relays")
	if err := os.WriteFile(file, []byte(uri+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, b := s.rig.Node(s.place("symmetric", "a")), s.rig.Node(s.place("symmetric", "b"))
	invite, err := a.Up(s.ctx, "--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String(), "--relay", "@"+file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Up(s.ctx, invite, "--relay", uri); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Node{a, b} {
		for _, host := range []*natlab.Host{server, s.hubHost} {
			s.relay(n, host, 5*time.Second, "held", func(r tunnel.RelayStatus) bool {
				return r.Held && r.Address != "" && r.RTT != nil && r.Error == ""
			})
		}
		text := s.must(n, "status")
		if !strings.Contains(text, "relays: ") || strings.Contains(text, "pass") {
			t.Errorf("status says\n%s", text)
		}
	}
	if err := a.FirstPing(s.ctx, address(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.waitPath(a, b, peer.PathRelayed, time.Now().Add(directGoal)); err != nil {
		t.Error(err)
	}

	// The relay that carries dies; if it is the hub's, nobody introduces them
	// anew.
	cut, other := time.Now(), server
	if s.over(a, b, server) && s.over(b, a, server) {
		other = s.hubHost
		kill()
	} else {
		s.hub.Signal(os.Kill)
		s.hub.Wait()
	}
	for !s.over(a, b, other) || !s.over(b, a, other) {
		if time.Since(cut) > 40*time.Second {
			t.Fatal("the path does not move to the other relay")
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("over the relay on %s %v after the other was killed", other.Name(), time.Since(cut).Round(time.Millisecond))
	if err := a.FirstPing(s.ctx, address(1)); err != nil {
		t.Error(err)
	}
}

// TestOpenRelay: a relay that asks for no credentials needs none; one that asks,
// and is not given the right ones, is no relay, and status says why.
func TestOpenRelay(t *testing.T) {
	s := newSetup(t)
	open, _ := s.coturn("open", true)
	closed, _ := s.coturn("closed", false)
	a, b := s.rig.Node(s.place("symmetric", "a")), s.rig.Node(s.place("symmetric", "b"))
	invite, err := a.Up(s.ctx, "--new", "home", "--hub", s.hub.Link, "--prefix", prefix.String(), "--relay", fmt.Sprintf("turn:%s:3479", open.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Up(s.ctx, invite, "--relay", fmt.Sprintf("turn:us%%40er:wrong@%s:3479", closed.Addr())); err != nil {
		t.Fatal(err)
	}
	for _, host := range []*natlab.Host{open, s.hubHost} {
		s.relay(a, host, 10*time.Second, "held", func(r tunnel.RelayStatus) bool { return r.Held && r.Address != "" })
	}
	s.relay(b, closed, 10*time.Second, "refused", func(r tunnel.RelayStatus) bool {
		return r.Address == "" && r.RTT != nil && strings.Contains(r.Error, "401")
	})
}

// Where the hub names other relays its members use them, by what of UDP, TCP and TLS
// their network lets out, with credentials that the hub makes of a secret; and when
// the hub dies they go on.
func TestRelayOfTheHubsChoice(t *testing.T) {
	for transport, tt := range map[string]struct {
		uri   string
		place natlab.Firewall
	}{
		"UDP": {"turn:198.51.100.2:3479?secret=north%26south", natlab.Open},
		"TCP": {"turn:198.51.100.2:3479?transport=tcp&secret=north%26south", natlab.NoUDP},
		"TLS": {"turns:198.51.100.2:5349?secret=north%26south", natlab.NoUDP},
	} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := newSetupFor(t, time.Minute, "debug", "--relay", tt.uri)
			server := natlab.Must(s.rig.Lab.PublicHost("coturn"))
			cert, key := certificateFor(t, server.Addr())
			s.runCoturn(server, "--use-auth-secret", "--static-auth-secret=north&south", "-L", server.Addr().String(), "--cert", cert, "--pkey", key)
			a, b := s.rig.Node(s.behind(tt.place, "symmetric", "a")), s.rig.Node(s.place("public", "b"))
			a.Env = []string{"SSL_CERT_FILE=" + cert} // what this machine trusts
			if _, err := b.Up(s.ctx, s.create(a, "--relay-only")); err != nil {
				t.Fatal(err)
			}
			if err := a.FirstPing(s.ctx, address(1)); err != nil {
				t.Fatal(err)
			}
			s.hub.Signal(os.Kill)
			s.hub.Wait()
			start := time.Now()
			for !s.over(a, b, server) {
				if time.Since(start) > 15*time.Second {
					st, _ := a.Status(s.ctx)
					t.Fatalf("the path does not move to the other relay: %+v", st.Self.Relays)
				}
				if err := a.FirstPing(s.ctx, address(1)); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("over the other relay %v after the hub's was killed", time.Since(start).Round(time.Millisecond))
			if name, _, _ := strings.Cut(tt.uri, "?"); tt.place == natlab.NoUDP {
				s.overStream(a, name)
			}
		})
	}
}

// certificateFor makes a certificate for an address, that vouches for itself.
func certificateFor(t *testing.T, addr netip.Addr) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay"}, IPAddresses: []net.IP{addr.AsSlice()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, b []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs8)
}

// over says whether the path between two nodes leads over that relay alone.
func (s *setup) over(from, to *Node, server *natlab.Host) bool {
	p, err := from.Peer(s.ctx, to)
	if err != nil || p.State != peer.Connected || p.Path != peer.PathRelayed {
		return false
	}
	for _, e := range []tunnel.EndpointStatus{p.Local, p.Remote} {
		if at, err := netip.ParseAddrPort(e.Address); e.Type == peer.Relayed && (err != nil || at.Addr() != server.Addr()) {
			return false
		}
	}
	return true
}
