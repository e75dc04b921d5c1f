package hub

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// hubProcess, in the environment, makes the test binary a hub on that state.
const hubProcess = "P2PTUN_TEST_HUB_STATE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(hubProcess); dir != "" {
		h, err := New(Config{Listen: "127.0.0.1:0", TURNListen: ":0", PublicAddrs: []netip.Addr{loopback}, State: dir})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(h.Link().Token())
		h.Run(context.Background())
		return
	}
	if scheme, addr, ok := strings.Cut(os.Getenv(attackOn), "://"); ok {
		(&attack{scheme: scheme, addr: addr}).run(os.Stdin)
		return
	}
	if kind := os.Getenv(relayProcess); kind != "" {
		if err := serveRelay(kind); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	remove, err := trustAuthority()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	code := m.Run()
	remove()
	os.Exit(code)
}

// A hub that is killed at any moment has, when it comes back, its identity and
// all that it had let anybody see.
func TestStateSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), hubProcess+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("hub process: %v", err)
	}
	link, err := config.ParseHubLink(line)
	if err != nil {
		t.Fatalf("hub process said %q: %v", line, err)
	}

	child := &testHub{Hub: &Hub{link: link, listener: &switchboard{Listener: fakeListener{link}}}}
	network := config.NewNetworkKey()
	keeper, other := newAdmin(t, network, 1), newMember(t, network, 2)
	ck := connect(t, child, keeper)
	ck.send(&signaling.Tickets{Tickets: []signaling.Ticket{{Hash: ticketHash("a"), State: signaling.TicketOpen}, {Hash: ticketHash("b"), State: signaling.TicketUsed}}})
	ck.send(&signaling.Members{Statements: [][]byte{other.record.Bytes()}})
	expect[*signaling.Members](ck) // once it is seen, it is durable
	cmd.Process.Kill()
	cmd.Wait()

	h := startHub(t, Config{State: dir})
	if got := h.Link(); got.Key != link.Key || got.Access != link.Access {
		t.Error("another identity or access key")
	}
	c := dial(t, h).hello(other)
	if records, _, _ := c.greeting(true); len(records) != 3 {
		t.Errorf("%d statements are left, want 3", len(records))
	}
	joiner := &member{network: network, key: config.NewNodeKey(), epoch: 1}
	dial(t, h).hello(joiner, withTicket("b")).expectError(signaling.CodeUsed)
	dial(t, h).hello(joiner, withTicket("a")).greeting(false)
}

// fakeListener gives the address of the hub in the other process.
type fakeListener struct{ link config.HubLink }

func (f fakeListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (f fakeListener) Close() error              { return nil }
func (f fakeListener) Addr() net.Addr {
	ap := netip.MustParseAddrPort(strings.TrimPrefix(f.link.URLs[0], "wss://"))
	return net.TCPAddrFromAddrPort(ap)
}

func TestLink(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	h := startHub(t, Config{State: dir, PublicAddrs: []netip.Addr{loopback, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}})
	port := h.Addr().Port()
	want := []string{fmt.Sprintf("wss://127.0.0.1:%d", port), fmt.Sprintf("wss://[2001:db8::1]:%d", port), fmt.Sprintf("wss://192.0.2.1:%d", port)}
	if got := h.Link().URLs; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	file := filepath.Join(dir, LinkFile)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	link, err := config.ParseHubLink(string(b))
	if err != nil || link.Key != h.Link().Key || link.Access != h.Link().Access {
		t.Errorf("the link file does not hold the link: %v", err)
	}
	for _, name := range []string{file, filepath.Join(dir, stateFile)} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info.Mode(), err)
		}
	}
	h.stop()
	again := startHub(t, Config{State: dir})
	if again.Link().Key != link.Key || again.Link().Access != link.Access {
		t.Error("a second start made other keys")
	}
}

// What an operator can get wrong is said in one line with a hint, and harms
// nothing.
func TestNewRefuses(t *testing.T) {
	h := startHub(t, Config{State: t.TempDir()})
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, stateFile), bytes.Repeat([]byte("no database"), 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	private := []netip.Addr{loopback}
	cert, key := newPair(t, []string{"localhost"})
	_, otherKey := newPair(t, []string{"localhost"})
	nameless, namelessKey := newPair(t, nil)
	tests := []struct {
		name string
		cfg  Config
		err  string
		hint string
	}{
		{"state in use", Config{State: filepath.Dir(h.state.db.Path()), PublicAddrs: private}, "another", "--state"},
		{"damaged state", Config{State: damaged, PublicAddrs: private}, "invalid database", "backup"},
		{"state is a file", Config{State: file, PublicAddrs: private}, "not a directory", "--state"},
		{"port in use", Config{Listen: h.Addr().String(), PublicAddrs: private}, "address already in use", "--listen"},
		{"turn port in use", Config{TURNListen: h.TURNAddr().String(), PublicAddrs: private}, "address already in use", "--turn-listen"},
		{"no port", Config{Listen: "127.0.0.1", PublicAddrs: private}, "missing port", "--listen"},
		{"no turn port", Config{TURNListen: "127.0.0.1:http", PublicAddrs: private}, "port", "--turn-listen"},
		{"foreign address", Config{Listen: "192.0.2.77:0", PublicAddrs: private}, "cannot assign", "--listen"},
		{"loopback only", Config{Listen: "127.0.0.1:0"}, "no address that members could reach", "--public-addr"},
		{"private only", Config{Listen: "10.1.2.3:0"}, "only private addresses (10.1.2.3)", "--public-addr"},
		{"certificate without key", Config{TLSCert: cert, PublicAddrs: private}, "needs its key", "--tls-key"},
		{"key without certificate", Config{TLSKey: key, PublicAddrs: private}, "a key its certificate", "--tls-cert"},
		{"no such certificate", Config{TLSCert: cert + "x", TLSKey: key, PublicAddrs: private}, "no such file", "--tls-cert"},
		{"another's key", Config{TLSCert: cert, TLSKey: otherKey, PublicAddrs: private}, "does not match", "--tls-key"},
		{"certificate for no name", Config{TLSCert: nameless, TLSKey: namelessKey, PublicAddrs: private}, "for no host name", "--tls-cert"},
		{"certificate and no TLS", Config{TLSCert: cert, TLSKey: key, PlainHTTP: true, PublicAddrs: private}, "serves without TLS", "--plain-http"},
		{"url with a path", Config{URLs: []string{"wss://h:1/p"}, PublicAddrs: private}, "want wss://HOST:PORT", "--url"},
		{"url without TLS", Config{URLs: []string{"ws://h:1"}, PublicAddrs: private}, "without TLS", "wss://"},
		{"nine urls", Config{URLs: slices.Repeat([]string{"wss://h:1"}, config.MaxHubURLs+1), PublicAddrs: private}, "at most 8", "--url"},
		{"unspecified", Config{PublicAddrs: []netip.Addr{netip.IPv4Unspecified()}}, "cannot reach", "--public-addr"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.cfg.State == "" {
				tt.cfg.State = t.TempDir()
			}
			if tt.cfg.Listen == "" {
				tt.cfg.Listen = "127.0.0.1:0"
			}
			if tt.cfg.TURNListen == "" {
				tt.cfg.TURNListen = ":0"
			}
			_, err := New(tt.cfg)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with %q", err, tt.err)
			}
			if hint := config.HintOf(err); !strings.Contains(hint, tt.hint) {
				t.Errorf("hint %q, want it to name %q", hint, tt.hint)
			}
		})
	}
	// The running hub took no harm, and what a refused one opened is free.
	connect(t, h, newMember(t, config.NewNetworkKey(), 1))
	b, err := os.ReadFile(filepath.Join(damaged, stateFile))
	if err != nil || !bytes.HasPrefix(b, []byte("no database")) {
		t.Error("the damaged file was changed")
	}
}
