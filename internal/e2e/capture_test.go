package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/natlab"
	"github.com/p2ptun/p2ptun/peer"
)

// captured is a session that the hub's side listened to.
type captured struct {
	*setup
	recorder *recorder
	a, b     *Node // a made the network
	invite   string

	wires [3]*sniffer // of a, b and the hub

	mu   sync.Mutex // guards said
	said []string   // by all processes, but for answers on stdout
}

// capture has machine b join the network of a; both speak to the hub by way of
// a recorder. Their names are long, so that they cannot stand anywhere by
// chance.
func capture(t *testing.T, behind string, upArgs ...string) *captured {
	c := &captured{setup: newSetup(t)}
	c.rig.Output = func(process, line string) {
		t.Logf("%s: %s", process, line)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.said = append(c.said, line)
	}
	host := natlab.Must(c.rig.Lab.PublicHost("plainhub"))
	hub, err := c.rig.StartHub(c.ctx, host, append(plainHTTP(t), "--log-level", "debug")...)
	if err != nil {
		t.Fatal(err)
	}
	c.hub, c.hubHost = hub, host
	c.recorder = record(t, natlab.Must(c.rig.Lab.PublicHost("recorder")), hub)
	c.a, c.b = c.rig.Node(c.place(behind, "anemone-alder")), c.rig.Node(c.place(behind, "bluebell-birch"))
	c.wires = [3]*sniffer{sniff(t, c.a.Host), sniff(t, c.b.Host), sniff(t, host)}
	link := c.file("link", c.recorder.Link)
	c.invite, err = c.a.Up(c.ctx, append([]string{"--new", "greenhouse", "--hub", "@" + link, "--prefix", prefix.String()}, upArgs...)...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.b.Up(c.ctx, append([]string{"@" + c.file("invite", c.invite)}, upArgs...)...); err != nil {
		t.Fatal(err)
	}
	return c
}

// file keeps a token where a command can read it.
func (c *captured) file(name, content string) string {
	path := filepath.Join(c.rig.Dir, name)
	if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// text is what was said, and logged into files.
func (c *captured) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.said, "\n") + c.a.Log() + c.b.Log()
}

// secrets are those of both machines, and the invite's.
func (c *captured) secrets() []quarry {
	invite, err := config.ParseInvite(c.invite)
	if err != nil {
		c.t.Fatal(err)
	}
	all := append(secretsOf(c.t, c.a), secretsOf(c.t, c.b)...)
	return append(all, secretBytes("the invite's secret", invite.Secret[:]))
}

// turnPasswords are those that the hub gave out: it made them, and the relay
// must not show them.
func (c *captured) turnPasswords() (all []quarry) {
	for _, m := range c.recorder.messages(c.t) {
		var f struct{ Type, Password string }
		if json.Unmarshal(m.frame, &f) == nil && f.Password != "" {
			all = append(all, secretText("a TURN password", f.Password))
		}
	}
	if len(all) < 2 {
		c.t.Fatalf("%d TURN passwords were given out", len(all))
	}
	return all
}

// candidates are the addresses under which the machines could be reached, by
// their own word; and the addresses of their interfaces, ports aside. The hub
// is at its own address, which everybody may name: of that, only the ports of
// relays are secret.
func (c *captured) candidates() (all []quarry) {
	count := 0
	for line := range strings.Lines(c.text()) {
		_, list, found := strings.Cut(line, "reachable at: ")
		if !found {
			continue
		}
		for field := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' }) {
			at, err := netip.ParseAddrPort(field)
			if err != nil {
				continue // the kind of it
			}
			count++
			all = append(all, secretAddr("a candidate", at))
			if at.Addr() != c.hubHost.Addr() {
				all = append(all, secretText("a candidate's address", at.Addr().String()))
			}
		}
	}
	for _, n := range []*Node{c.a, c.b} {
		all = append(all, secretText("an interface's address", n.Host.Addr().String()))
	}
	if count < 4 {
		c.t.Fatalf("the machines named %d addresses", count)
	}
	return all
}

// structure is how ICE's words look wherever they stand.
func structure() (all []quarry) {
	for _, word := range []string{"candidate:", "ice-ufrag", "ice-pwd", `"candidate"`, `"ufrag"`, `"pwd"`, " typ host", " typ srflx", " typ relay", " raddr "} {
		all = append(all, secretText("a word of ICE", word))
	}
	return all
}

// TestHubSees: of a whole session, a machine that joins, connects, and comes
// again, the hub's WebSocket carries no address, no ufrag or password of ICE,
// and no key. It carries what the hub is there for: signed records, so names
// and public keys; which machine talks to which and when; its own relay's
// credentials. Not in it, as it is no content: the addresses that connections
// come from, which the hub tells their owners (Welcome.Observed).
func TestHubSees(t *testing.T) {
	c := capture(t, "port")
	if err := c.waitPath(c.a, c.b, peer.PathDirect, time.Now().Add(directGoal)); err != nil {
		t.Fatal(err)
	}
	ping := func() {
		t.Helper()
		if err := c.a.FirstPing(c.ctx, address(1)); err != nil {
			t.Fatal(err)
		}
	}
	ping()
	if _, err := c.b.Run(c.ctx, "down"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.b.Up(c.ctx); err != nil {
		t.Fatal(err)
	}
	ping()
	if err := c.waitNominated(c.b, c.a); err != nil {
		t.Fatal(err)
	}

	all := append(c.secrets(), append(c.candidates(), structure()...)...)
	names := ufrags(append(c.wires[0].stop(), c.wires[1].stop()...))
	if len(names) < 4 {
		t.Fatalf("%d ufrags were seen on the machines' interfaces", len(names))
	}
	for u := range names {
		all = append(all, secretText("an ufrag", u))
	}
	messages := c.recorder.messages(t)
	types := map[string]int{}
	var everything []byte
	for _, m := range messages {
		var f struct{ Type string }
		if err := json.Unmarshal(m.frame, &f); err != nil {
			if len(m.frame) > 125 { // longer than any control frame
				t.Errorf("a frame that is no JSON: %.100q", m.frame)
			}
			continue
		}
		types[f.Type]++
		content := unfold(m.frame)
		everything = append(everything, content...)
		hunt(t, all, fmt.Sprintf("%q, from a node: %v", f.Type, m.fromNode), content)
	}
	t.Logf("%d frames, %d bytes, %d things to look for: %v", len(messages), len(everything), len(all), types)
	// It would have been found: what is there is.
	for _, want := range []string{c.a.Name, c.b.Name} {
		if secretText("", want).found(everything) == "" {
			t.Errorf("%s is not in the records: what was searched?", want)
		}
	}
	for _, kind := range []string{"hello", "join", "members", "presence", "signal", "credentials", "tickets"} {
		if types[kind] == 0 {
			t.Errorf("no %q was recorded", kind)
		}
	}
}

// TestRelaySees: the relay, and all that listens to it, sees whom it serves, the
// ufrags of the checks that pass, and WireGuard's packets: nothing of what is
// in them, no password of ICE or TURN, no key.
func TestRelaySees(t *testing.T) {
	c := capture(t, "public", "--relay-only")
	if err := c.waitPath(c.a, c.b, peer.PathRelayed, time.Now().Add(directGoal)); err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 24)
	rand.Read(random)
	payload := base64.RawURLEncoding.EncodeToString(random)
	const packets = 20
	c.sendMarked(payload, packets)

	all := append(c.secrets(), append(c.turnPasswords(), structure()...)...)
	all = append(all,
		secretText("the payload", payload), secretText("half of the payload", payload[:16]), secretText("half of the payload", payload[16:]),
		quarry{"an inner header", [][]byte{append(address(0).AsSlice(), address(1).AsSlice()...), append(address(1).AsSlice(), address(0).AsSlice()...)}})
	frames := c.wires[2].stop()
	data, marked := 0, 0
	for _, f := range frames {
		p := udp(f)
		if p == nil {
			continue // the WebSocket, which passes here too: see TestHubSees
		}
		hunt(t, all, "the relay's wire", p)
		if inner := channelData(p); inner != nil && bytes.HasPrefix(inner, []byte{4, 0, 0, 0}) {
			data++
			if len(inner) > len(payload) {
				marked++
			}
		}
	}
	t.Logf("%d frames on the hub's wire, %d of WireGuard data, %d ufrags", len(frames), data, len(ufrags(frames)))
	if marked < packets {
		t.Errorf("%d packets of data were seen, want %d: what was searched?", marked, packets)
	}
	if len(ufrags(frames)) < 2 {
		t.Error("no ufrags were seen, which the relay is known to see: what was searched?")
	}
}

// sendMarked sends datagrams from a to b inside the tunnel, each until it
// arrives.
func (c *captured) sendMarked(payload string, packets int) {
	to, err := c.b.Host.ListenUDP(netip.AddrPortFrom(address(1), 0))
	if err != nil {
		c.t.Fatal(err)
	}
	defer to.Close()
	from, err := c.a.Host.ListenUDP(netip.AddrPortFrom(address(0), 0))
	if err != nil {
		c.t.Fatal(err)
	}
	defer from.Close()
	buf := make([]byte, 1500)
	for range packets {
		for arrived := false; !arrived; {
			if c.ctx.Err() != nil {
				c.t.Fatal("the marked packets do not arrive")
			}
			if _, err := from.WriteTo([]byte(payload), to.LocalAddr().(*net.UDPAddr)); err != nil {
				c.t.Fatal(err)
			}
			to.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			n, _, err := to.ReadFrom(buf)
			arrived = err == nil && string(buf[:n]) == payload
		}
	}
}
