package hub

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/pion/stun/v4"
)

// logged is a log to look at.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.b.String()), "\n")
}

// A growing number is said at first and each time it has doubled.
func TestReport(t *testing.T) {
	var out logged
	var d drops
	log := slog.New(slog.NewTextHandler(&out, nil))
	for range 1000 {
		d.overRate.Add(1)
		d.report(log)
	}
	d.report(log)
	if n := len(out.lines()); n != 10 || !strings.Contains(out.lines()[0], "what=relay_rate count=1") {
		t.Errorf("%d lines for 1,000 drops:\n%s", n, strings.Join(out.lines(), "\n"))
	}
	seen := make(map[any]bool)
	for _, drop := range d.all() {
		if seen[drop.what] || seen[drop.n] {
			t.Errorf("%s twice", drop.what)
		}
		seen[drop.what], seen[drop.n] = true, true
	}
}

// Whatever strangers do, however often, adds no line to the log; all of it is
// counted.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	var out logged
	h := startHub(t, Config{Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))}, func(h *Hub) {
		h.admitted.allowLoopback = true
		h.gate.limitLoopback = true
		h.gate.sources.most = 20
	})
	network := config.NewNetworkKey()
	member := connect(t, h, newMember(t, network, 1))
	stranger := newMember(t, config.NewNetworkKey(), 2)
	badHello := func(change ...func(*signaling.Hello)) {
		c := dial(t, h)
		c.hello(stranger, change...)
		if e := expect[*signaling.Error](c); e.Code == "" {
			t.Error("not refused")
		}
		c.ws.Close()
	}
	id := identity{network.Public(), config.NodeKey{1}}
	client := newRawTURN(t, h.TURNAddr(), "127.0.0.3", issue(h, id)).allocate()
	before := len(out.lines())
	for range 10 {
		badHello() // a network that the hub does not know
		badHello(func(m *signaling.Hello) { m.Signature[0] ^= 1 })
		badHello(func(m *signaling.Hello) { m.Proof, m.Ticket = nil, []byte("no ticket") })
		if ws, _, err := dialWith(h, "p2ptun.v9", nil); err == nil {
			ws.Close()
		}
		for _, garbage := range []string{"garbage\r\n\r\n", "\x16\x03\x01\x02\x00\x01", "PRI * HTTP/2.0\r\n\r\n"} {
			c := socket(t, h, "127.0.0.1")
			c.Write([]byte(garbage))
			c.Close()
		}
		c := dial(t, h)
		c.ws.WriteMessage(websocket.TextMessage, make([]byte, signaling.MaxFrame+1))
		c.ws.Close()
	}
	for range 30 {
		if c, err := dialFrom(h, "127.0.0.5"); err == nil {
			defer c.Close()
		}
	}
	for range 3 * strangerBurst {
		client.permission(loopback.Next().Next().Next().Next())
		client.send(stun.MustBuild(stun.TransactionID, stun.BindingRequest))
	}
	member.settled()
	waitFor(t, "all of it counted", func() bool {
		return h.drops.handshakes.Load() >= 40 && h.drops.sockets.Load() >= 10 && h.drops.permissions.Load() >= 3*strangerBurst
	})
	if after := out.lines(); len(after) != before {
		t.Errorf("logged:\n%s", strings.Join(after[before:], "\n"))
	}
}
