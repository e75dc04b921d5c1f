package hub

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

const patience = 10 * time.Second

var loopback = netip.MustParseAddr("127.0.0.1")

// testHub is a hub that serves on loopback until the test ends.
type testHub struct {
	*Hub
	stop func()
}

// startHub starts a hub; tune, if any, changes it before it serves.
func startHub(t testing.TB, cfg Config, tune ...func(*Hub)) *testHub {
	t.Helper()
	checkLeaks(t)
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	cfg.TURNListen = ":0"
	if cfg.PublicAddrs == nil {
		cfg.PublicAddrs = []netip.Addr{loopback}
	}
	if cfg.State == "" {
		cfg.State = t.TempDir()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatalf("New: %v (hint: %s)", err, config.HintOf(err))
	}
	for _, f := range tune {
		f(h)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	stopped := false
	th := &testHub{Hub: h}
	th.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not return")
		}
	}
	t.Cleanup(th.stop)
	return th
}

// allocations are those of all its listeners.
func (h *testHub) allocations() (all []*allocation) {
	for _, l := range h.relay.listeners {
		l.mu.RLock()
		all = slices.AppendSeq(all, maps.Values(l.allocations))
		l.mu.RUnlock()
	}
	return all
}

// running counts the hubs of the test; tests do not run in parallel.
var running int

// checkLeaks fails the test if goroutines of this package or of pion/turn
// outlive it.
func checkLeaks(t testing.TB) {
	running++
	t.Cleanup(func() {
		if running--; running > 0 {
			return // the last hub of the test looks
		}
		var left string
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if left = ourGoroutines(); left == "" {
				return
			}
		}
		t.Errorf("goroutines left:\n%s", left)
	})
}

func ourGoroutines() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(g, "testing.") {
			continue // a test's own
		}
		if strings.Contains(g, "signaling/hub") || strings.Contains(g, "pion/turn") || strings.Contains(g, "net/http.(*Server)") {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}

// member is a node with a record.
type member struct {
	network config.NetworkPrivateKey
	key     config.NodePrivateKey
	record  *signaling.SignedRecord
	epoch   signaling.Epoch
	// delegation makes an admin of it; nil: it is none.
	delegation []byte
}

// newAdmin is newMember for one that keeps invites.
func newAdmin(t testing.TB, network config.NetworkPrivateKey, n int) *member {
	t.Helper()
	m := newMember(t, network, n)
	s, err := signaling.NetworkAdmin(network).Delegate(m.node())
	if err != nil {
		t.Fatal(err)
	}
	m.delegation = s.Bytes()
	return m
}

func (m *member) node() config.NodeKey { return m.key.Public() }

func newMember(t testing.TB, network config.NetworkPrivateKey, n int) *member {
	t.Helper()
	m := &member{network: network, key: config.NewNodeKey(), epoch: 7}
	m.record = m.sign(t, signaling.Record{Sequence: 1}, n)
	return m
}

// sign makes a record for the node; n distinguishes names and addresses.
func (m *member) sign(t testing.TB, r signaling.Record, n int) *signaling.SignedRecord {
	t.Helper()
	r.Node = m.node()
	r.Name = "node" + strings.Repeat("x", n%40)
	r.IPv4 = netip.AddrFrom4([4]byte{10, 70, byte(n >> 8), byte(n)})
	rand.Read(r.WireGuard[:])
	rand.Read(r.Sealing[:])
	rec, err := signaling.NetworkAdmin(m.network).Record(r)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// client is a raw connection to a hub.
type wsClient struct {
	t     testing.TB
	ws    *websocket.Conn
	shake signaling.Handshake
}

func dial(t testing.TB, h *testHub) *wsClient {
	t.Helper()
	ws, resp, err := dialWith(h, signaling.Subprotocol, nil)
	if err != nil {
		t.Fatalf("dial: %v (%v)", err, resp)
	}
	return newWSClient(t, ws)
}

// newWSClient takes a connection over until the test ends.
func newWSClient(t testing.TB, ws *websocket.Conn) *wsClient {
	t.Helper()
	t.Cleanup(func() { ws.Close() })
	c := &wsClient{t: t, ws: ws}
	var err error
	if c.shake.TLSExporter, err = signaling.Exporter(ws.NetConn()); err != nil {
		t.Fatal(err)
	}
	return c
}

func dialWith(h *testHub, subprotocol string, header http.Header) (*websocket.Conn, *http.Response, error) {
	d := websocket.Dialer{HandshakeTimeout: patience, TLSClientConfig: anyCertificate}
	if subprotocol != "" {
		d.Subprotocols = []string{subprotocol}
	}
	return d.Dial(h.url(), header)
}

// url is where the WebSocket is, whatever the link says.
func (h *testHub) url() string {
	scheme, _, _ := strings.Cut(h.Link().URLs[0], ":")
	return scheme + "://" + h.Addr().String() + signaling.Path
}

// anyCertificate is for tests of what comes after TLS.
var anyCertificate = &tls.Config{InsecureSkipVerify: true}

// hello answers the challenge; change, if any, alters the hello before it
// goes. It does not wait for the answer.
func (c *wsClient) hello(m *member, change ...func(*signaling.Hello)) *wsClient {
	c.t.Helper()
	challenge := expect[*signaling.Challenge](c)
	c.shake = signaling.Handshake{
		HubNonce: challenge.Nonce, NodeNonce: make([]byte, signaling.NonceSize), Hub: challenge.Hub,
		Network: m.network.Public(), Node: m.node(), TLSExporter: c.shake.TLSExporter,
	}
	rand.Read(c.shake.NodeNonce)
	hello := &signaling.Hello{
		Network: c.shake.Network, Node: c.shake.Node, Nonce: c.shake.NodeNonce,
		Epoch: m.epoch, Presence: signaling.SignPresence(m.key, c.shake.Network.ID(), m.epoch),
	}
	if m.record != nil {
		hello.Proof = [][]byte{m.record.Bytes()}
		if m.delegation != nil {
			hello.Proof = [][]byte{m.delegation, m.record.Bytes()}
		}
	}
	hello.Signature = c.shake.SignHello(m.key)
	for _, f := range change {
		f(hello)
	}
	c.send(hello)
	return c
}

// withAccess adds the proof that lets the network be created.
func (c *wsClient) withAccess(h *testHub) func(*signaling.Hello) {
	return func(hello *signaling.Hello) { hello.Access = c.shake.AccessProof(h.access()) }
}

func (h *testHub) access() []byte {
	link := h.Link()
	return link.Access[:]
}

// connect is the whole handshake of a member, up to its credentials.
func connect(t testing.TB, h *testHub, m *member) *wsClient {
	t.Helper()
	c := dial(t, h)
	c.hello(m, c.withAccess(h))
	c.greeting(true)
	return c
}

// greeting reads what follows a hello and returns the records.
func (c *wsClient) greeting(isMember bool) (records [][]byte, online []signaling.Online, cred *signaling.Credentials) {
	c.t.Helper()
	w := expect[*signaling.Welcome](c)
	if !c.shake.VerifyWelcome(w.Signature) {
		c.t.Fatal("welcome: signature is not valid")
	}
	if w.Member != isMember {
		c.t.Fatalf("welcome: member %v, want %v", w.Member, isMember)
	}
	records = c.records()
	if !isMember {
		return records, nil, nil
	}
	online = expect[*signaling.Presence](c).Online
	return records, online, expect[*signaling.Credentials](c)
}

// records reads pages up to the last.
func (c *wsClient) records() (records [][]byte) {
	c.t.Helper()
	for {
		m := expect[*signaling.Members](c)
		records = append(records, m.Statements...)
		if !m.More {
			return records
		}
	}
}

func (c *wsClient) send(m signaling.Message) {
	c.t.Helper()
	frame, err := signaling.Encode(m)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.ws.WriteMessage(websocket.TextMessage, frame); err != nil {
		c.t.Fatalf("send %T: %v", m, err)
	}
}

func (c *wsClient) read() (signaling.Message, error) {
	c.ws.SetReadDeadline(time.Now().Add(patience))
	_, frame, err := c.ws.ReadMessage()
	if err != nil {
		return nil, err
	}
	return signaling.Decode(frame)
}

func expect[T signaling.Message](c *wsClient) T {
	c.t.Helper()
	m, err := c.read()
	if err != nil {
		c.t.Fatalf("want %T, got %v", *new(T), err)
	}
	got, ok := m.(T)
	if !ok {
		c.t.Fatalf("want %T, got %T %+v", *new(T), m, m)
	}
	return got
}

// expectError wants a refusal, and then the end unless it names an addressee.
func (c *wsClient) expectError(code signaling.ErrorCode) *signaling.Error {
	c.t.Helper()
	e := expect[*signaling.Error](c)
	if e.Code != code {
		c.t.Fatalf("got error %q (%s), want code %q", e.Code, e.Message, code)
	}
	if e.To == nil {
		c.expectEnd()
	}
	return e
}

func (c *wsClient) expectEnd() {
	c.t.Helper()
	m, err := c.read()
	if err == nil {
		c.t.Fatalf("want the connection to end, got %T", m)
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatal("the connection did not end")
	}
}

// settled returns when the hub has handled all that the client sent before: a
// signal to a node that does not exist comes back in order.
func (c *wsClient) settled() {
	c.t.Helper()
	c.send(&signaling.Signal{To: config.NewNodeKey().Public()})
	for {
		m, err := c.read()
		if err != nil {
			c.t.Fatal(err)
		}
		if e, ok := m.(*signaling.Error); ok && e.Code == signaling.CodeOffline {
			return
		}
	}
}

func ticketHash(ticket string) []byte {
	h := sha256.Sum256([]byte(ticket))
	return h[:]
}
