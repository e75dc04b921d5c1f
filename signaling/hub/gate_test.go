package hub

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// socket is a TCP connection to the hub from some address of this machine.
func socket(t testing.TB, h *testHub, from string) net.Conn {
	t.Helper()
	c, err := dialFrom(h, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dialFrom(h *testHub, from string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	return d.Dial("tcp", h.Addr().String())
}

// ended waits until the hub has ended the connection; it reports what came.
func ended(t testing.TB, c net.Conn) []byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection did not end; %d bytes came", len(b))
	}
	return b
}

// One source holds so many sockets and no more; others get in.
func TestSocketsOfOneSource(t *testing.T) {
	h := startHub(t, Config{}, func(h *Hub) {
		h.gate.limitLoopback = true
		h.gate.sources.most = 5
	})
	var held []net.Conn
	for range 5 {
		held = append(held, socket(t, h, "127.0.0.3"))
	}
	if c, err := dialFrom(h, "127.0.0.3"); err == nil { // else it was reset at once
		if b := ended(t, c); len(b) != 0 {
			t.Errorf("the hub said %q", b)
		}
		c.Close()
	}
	waitFor(t, "one counted", func() bool { return h.drops.sockets.Load() == 1 })
	network := config.NewNetworkKey()
	memberFrom(t, h, "127.0.0.4", newMember(t, network, 1))
	held[0].Close()
	waitFor(t, "a place free again", func() bool {
		h.gate.mu.Lock()
		defer h.gate.mu.Unlock()
		return h.gate.waiting.Len() == 4 // the member does not wait
	})
	// Members do not count, however many come from there.
	for n := range 8 {
		memberFrom(t, h, "127.0.0.3", newMember(t, network, n+2))
	}
	if h.drops.sockets.Load() != 1 {
		t.Errorf("%d counted", h.drops.sockets.Load())
	}
}

// What comes through a proxy on this machine counts by whom it speaks for.
func TestGateTrustsAProxyHere(t *testing.T) {
	h := startHub(t, Config{}, func(h *Hub) { h.gate.sources.most = 1 })
	for range 5 {
		socket(t, h, "127.0.0.3")
	}
	connect(t, h, newMember(t, config.NewNetworkKey(), 1))
	if h.drops.sockets.Load() != 0 {
		t.Error("the proxy was refused")
	}
}

// When too many wait, who has waited longest goes: a member always gets in.
func TestCrowdAtTheGate(t *testing.T) {
	h := startHub(t, Config{}, func(h *Hub) { h.gate.most = 10 })
	network := config.NewNetworkKey()
	first := connect(t, h, newMember(t, network, 1))
	var crowd []net.Conn
	for range 25 {
		crowd = append(crowd, socket(t, h, "127.0.0.3"))
	}
	second := connect(t, h, newMember(t, network, 2))
	for _, c := range crowd[:15] {
		ended(t, c)
	}
	if n := h.drops.crowded.Load(); n < 15 || n > 16 {
		t.Errorf("%d counted, want 15 or 16", n)
	}
	expect[*signaling.Members](first)
	expect[*signaling.Presence](first)
	first.settled()
	second.settled()
}

// What a stranger may draw out: headers, a body, another request.
func TestSlowRequests(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the hub waits: 5 s")
	}
	h := startHub(t, Config{PlainHTTP: true})
	requests := map[string]string{
		"no header":        "",
		"half a header":    "GET " + signaling.Path + " HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"a body":           "POST " + signaling.Path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx",
		"another request":  "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
		"a body of chunks": "POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	}
	conns := make(map[string]net.Conn)
	for name, r := range requests {
		conns[name] = socket(t, h, "127.0.0.3")
		if _, err := io.WriteString(conns[name], r); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range conns {
		c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays open", name)
		}
	}
	waitFor(t, "nobody waits", func() bool {
		h.gate.mu.Lock()
		defer h.gate.mu.Unlock()
		return h.gate.waiting.Len() == 0
	})
}

func TestHugeHeader(t *testing.T) {
	h := startHub(t, Config{PlainHTTP: true})
	c := socket(t, h, "127.0.0.3")
	io.WriteString(c, "GET "+signaling.Path+" HTTP/1.1\r\nHost: x\r\n")
	for range 1000 {
		if _, err := io.WriteString(c, "X-Long: 0123456789012345678901234567890123456789\r\n"); err != nil {
			return // ended while we wrote
		}
	}
	c.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil && resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %s", resp.Status)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("no answer, and the connection stays open")
	}
}
