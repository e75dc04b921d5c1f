package hub

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

func TestHello(t *testing.T) {
	h := startHub(t, Config{})
	network := config.NewNetworkKey()
	admin, other, stranger := newMember(t, network, 1), newMember(t, network, 2), newMember(t, config.NewNetworkKey(), 3)
	connect(t, h, admin)
	expired := newMember(t, network, 4)
	expired.record = expired.sign(t, signaling.Record{Sequence: 1, Expires: time.Now().Add(-time.Minute)}, 4)

	tests := []struct {
		name   string
		as     *member
		change func(*wsClient) func(*signaling.Hello)
		want   signaling.ErrorCode // "": welcome
	}{
		{"member", other, nil, ""},
		{"bad signature", other, func(*wsClient) func(*signaling.Hello) {
			return func(m *signaling.Hello) { m.Signature[3] ^= 1 }
		}, signaling.CodeUnauthorized},
		{"no signature", other, func(*wsClient) func(*signaling.Hello) {
			return func(m *signaling.Hello) { m.Signature = nil }
		}, signaling.CodeUnauthorized},
		{"short nonce", other, func(c *wsClient) func(*signaling.Hello) {
			return func(m *signaling.Hello) {
				c.shake.NodeNonce = c.shake.NodeNonce[:8]
				m.Nonce, m.Signature = c.shake.NodeNonce, c.shake.SignHello(other.key)
			}
		}, signaling.CodeUnauthorized},
		{"another's epoch", other, func(*wsClient) func(*signaling.Hello) {
			return func(m *signaling.Hello) { m.Epoch++ }
		}, signaling.CodeUnauthorized},
		{"another's record", other, func(*wsClient) func(*signaling.Hello) {
			return func(m *signaling.Hello) { m.Proof = [][]byte{admin.record.Bytes()} }
		}, signaling.CodeUnauthorized},
		{"another network's record", other, func(*wsClient) func(*signaling.Hello) {
			return func(m *signaling.Hello) { m.Proof = [][]byte{stranger.record.Bytes()} }
		}, signaling.CodeUnauthorized},
		{"expired record", expired, nil, signaling.CodeUnauthorized},
		{"neither record nor ticket", other, func(*wsClient) func(*signaling.Hello) {
			return func(m *signaling.Hello) { m.Proof = nil }
		}, signaling.CodeUnauthorized},
		{"unknown network", stranger, nil, signaling.CodeNetwork},
		{"unknown network, wrong access key", stranger, func(c *wsClient) func(*signaling.Hello) {
			return func(m *signaling.Hello) { m.Access = c.shake.AccessProof(make([]byte, config.AccessSize)) }
		}, signaling.CodeNetwork},
		{"unknown network, access key itself", stranger, func(*wsClient) func(*signaling.Hello) {
			return func(m *signaling.Hello) { m.Access = h.access() }
		}, signaling.CodeNetwork},
		{"new network", stranger, func(c *wsClient) func(*signaling.Hello) { return c.withAccess(h) }, ""},
		{"new network again without access key", stranger, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, h)
			change := func(*signaling.Hello) {}
			if tt.change != nil {
				change = func(m *signaling.Hello) { tt.change(c)(m) }
			}
			c.hello(tt.as, change)
			if tt.want != "" {
				c.expectError(tt.want)
				return
			}
			c.greeting(true)
		})
	}
}

// A hello made for one hub is worth nothing at another: a hub in the middle
// cannot pass for the node.
func TestHelloReplayedToAnotherHub(t *testing.T) {
	h1, h2 := startHub(t, Config{}), startHub(t, Config{})
	m := newMember(t, config.NewNetworkKey(), 1)
	connect(t, h2, m)

	for _, mode := range []string{"same nonce", "other nonce"} {
		c1, c2 := dial(t, h1), dial(t, h2)
		asked := expect[*signaling.Challenge](c2)
		c1.hello(m, func(hello *signaling.Hello) {
			if mode == "same nonce" { // h1 is evil and passes h2's challenge on
				shake := c1.shake
				shake.HubNonce = asked.Nonce
				hello.Signature = shake.SignHello(m.key)
			}
			c2.send(hello)
		})
		c2.expectError(signaling.CodeUnauthorized)
	}
}

func TestFirstFrame(t *testing.T) {
	h := startHub(t, Config{})
	for _, frame := range []string{"", "{", `{"type":"signal"}`, `{"type":"unknown"}`, `{"type":"hello","network":1}`, `{"type":"hello"}`} {
		c := dial(t, h)
		expect[*signaling.Challenge](c)
		if err := c.ws.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
			t.Fatal(err)
		}
		e := expect[*signaling.Error](c)
		if e.Code != signaling.CodeProtocol && e.Code != signaling.CodeUnauthorized {
			t.Errorf("%q: got code %q", frame, e.Code)
		}
		c.expectEnd()
	}
}

func TestUpgradeRefused(t *testing.T) {
	h := startHub(t, Config{})
	tests := []struct {
		name, subprotocol string
		header            http.Header
		want              int
	}{
		{"no subprotocol", "", nil, http.StatusBadRequest},
		{"other subprotocol", "p2ptun.v9", nil, http.StatusBadRequest},
		{"browser", signaling.Subprotocol, http.Header{"Origin": {"http://" + h.Addr().String()}}, http.StatusForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ws, resp, err := dialWith(h, tt.subprotocol, tt.header)
			if err == nil {
				ws.Close()
				t.Fatal("connected")
			}
			if resp == nil || resp.StatusCode != tt.want {
				t.Errorf("got %v, want status %d", resp, tt.want)
			}
		})
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: anyCertificate, DisableKeepAlives: true}}
	resp, err := web.Get("https://" + h.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("/: got %v, want 404", resp.Status)
	}
}

func TestSlowHandshake(t *testing.T) {
	h := startHub(t, Config{}, func(h *Hub) { h.timing.hello = 50 * time.Millisecond })
	c := dial(t, h)
	expect[*signaling.Challenge](c)
	c.expectEnd()
}

func TestSilentNodeIsDropped(t *testing.T) {
	h := startHub(t, Config{}, func(h *Hub) { h.timing.ping, h.timing.dead = 20*time.Millisecond, 200*time.Millisecond })
	network := config.NewNetworkKey()
	a, b := newMember(t, network, 1), newMember(t, network, 2)
	ca := connect(t, h, a)
	// b answers no pings, because nobody reads from its socket; a does.
	connect(t, h, b)
	for {
		m, err := ca.read()
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := m.(*signaling.Presence); ok && len(p.Offline) == 1 && p.Offline[0] == b.node() {
			return
		}
	}
}

func TestOversizedFrame(t *testing.T) {
	h := startHub(t, Config{})
	c := connect(t, h, newMember(t, config.NewNetworkKey(), 1))
	if err := c.ws.WriteMessage(websocket.TextMessage, bytes.Repeat([]byte(" "), signaling.MaxFrame+1)); err != nil {
		t.Fatal(err)
	}
	c.expectEnd()
}

func TestBinaryFrame(t *testing.T) {
	h := startHub(t, Config{})
	c := connect(t, h, newMember(t, config.NewNetworkKey(), 1))
	if err := c.ws.WriteMessage(websocket.BinaryMessage, []byte(`{"type":"credentials"}`)); err != nil {
		t.Fatal(err)
	}
	c.expectError(signaling.CodeProtocol)
}

func TestConnectionsOfOneSource(t *testing.T) {
	h := startHub(t, Config{})
	var refused bool
	for range strangerOpen + 1 {
		ws, resp, err := dialWith(h, signaling.Subprotocol, nil)
		if err != nil {
			refused = resp != nil && resp.StatusCode == http.StatusTooManyRequests
			break
		}
		defer ws.Close()
	}
	if !refused || h.drops.refused.Load() != 1 {
		t.Errorf("refused %v, counted %d", refused, h.drops.refused.Load())
	}
}
