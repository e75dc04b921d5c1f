package hub

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/pion/logging"
	"github.com/pion/turn/v5"
)

// streams are the ways to the relay but UDP, all to the hub's one port.
var streams = map[string]func(t testing.TB, h *testHub, from string) net.Conn{
	"TCP": func(t testing.TB, h *testHub, from string) net.Conn { return socket(t, h, from) },
	"TLS": func(t testing.TB, h *testHub, from string) net.Conn {
		c := tls.Client(socket(t, h, from), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{signaling.RelayProtocol}})
		if err := c.Handshake(); err != nil || c.ConnectionState().NegotiatedProtocol != signaling.RelayProtocol {
			t.Fatalf("TLS: %q, %v", c.ConnectionState().NegotiatedProtocol, err)
		}
		return c
	},
	"TLS without ALPN": func(t testing.TB, h *testHub, from string) net.Conn {
		return tls.Client(socket(t, h, from), anyCertificate)
	},
	"WebSocket": func(t testing.TB, h *testHub, from string) net.Conn {
		d := websocket.Dialer{
			Subprotocols: []string{signaling.RelaySubprotocol}, TLSClientConfig: anyCertificate,
			NetDial: func(string, string) (net.Conn, error) { return dialFrom(h, from) },
		}
		ws, _, err := d.Dial(strings.TrimSuffix(h.url(), signaling.Path)+signaling.RelayPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ws.Close() })
		return &oneWriter{Conn: signaling.Stream(ws)}
	},
}

// oneWriter is for pion's client, which writes from several goroutines.
type oneWriter struct {
	net.Conn
	mu sync.Mutex
}

func (c *oneWriter) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Conn.Write(b)
}

// newStreamClient is a member's TURN client over a stream.
func newStreamClient(t testing.TB, c net.Conn, cred *signaling.Credentials) *turnClient {
	t.Helper()
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: "127.0.0.1:1", TURNServerAddr: "127.0.0.1:1", // where the stream leads is its own matter
		Conn: turn.NewSTUNConn(c), Username: cred.Username, Password: cred.Password, Realm: realm,
		LoggerFactory: &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled},
	})
	if err == nil {
		err = client.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		c.Close()
	})
	return &turnClient{client, t}
}

// Each way leads to the same relay: to clients that come by any other way, and to
// whom is out there.
func TestStreams(t *testing.T) {
	for name, dial := range streams {
		t.Run(name, func(t *testing.T) {
			h := startRelayHub(t)
			network := config.NewNetworkKey()
			client := newStreamClient(t, dial(t, h, "127.0.0.3"), memberCredentials(t, h, network, 1))
			if mapped, err := client.SendBindingRequest(); err != nil || !strings.HasPrefix(mapped.String(), "127.0.0.3:") {
				t.Fatalf("Binding: %v, %v", mapped, err)
			}
			a := client.allocate()
			others := map[string]net.PacketConn{"UDP": newTURNClient(t, h, "127.0.0.4", memberCredentials(t, h, network, 2)).allocate()}
			n := 3
			for other, dial := range streams {
				others[other] = newStreamClient(t, dial(t, h, fmt.Sprintf("127.0.0.%d", n+10)), memberCredentials(t, h, network, n)).allocate()
				n++
			}
			for other, b := range others {
				b.WriteTo([]byte("permits"), a.LocalAddr())
				a.WriteTo([]byte("to "+other), b.LocalAddr())
				passes(t, b, "to "+other)
				for i := range 100 { // by indications, then on channels
					said := fmt.Sprintf("%08d%0*d", i, i, 0) // pion's client waits for more than 8 bytes
					a.WriteTo([]byte(said), b.LocalAddr())
					passes(t, b, said)
					b.WriteTo([]byte(said), a.LocalAddr())
					passes(t, a, said)
				}
			}
			waitFor(t, "its socket waits at the gate no more", func() bool { return h.gate.count() == 0 })
			a.Close()
			waitFor(t, "allocation gone", func() bool { return h.relay.relayCount() == len(others) })
		})
	}
}

// passes waits for a packet, whatever comes before it.
func passes(t *testing.T, c net.PacketConn, want string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	for buf := make([]byte, 2000); ; {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatalf("%.20q does not come: %v", want, err)
		}
		if string(buf[:n]) == want {
			return
		}
	}
}

// A stream that is none ends at once, and costs nothing: one frame of 20 bytes makes
// some TURN servers read without end.
func TestStreamOfGarbage(t *testing.T) {
	h := startRelayHub(t)
	before := processorTime(t)
	wrapped := make([]byte, 20)
	copy(wrapped, []byte{0x40, 0, 0xff, 0xfc})
	for _, b := range map[string][]byte{
		"wrapped length": append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 12: 1, 19: 0}, wrapped...),
		"no STUN":        {0, 1, 0, 1},
		"long STUN":      {0, 1, 0xff, 0xfc},
	} {
		c := socket(t, h, "127.0.0.3")
		c.Write(b)
		ended(t, c)
	}
	c := streams["TLS"](t, h, "127.0.0.3")
	c.Write(wrapped)
	ended(t, c)
	if took := processorTime(t) - before; took > time.Second {
		t.Errorf("took %v of a processor", took)
	}
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A stranger has a while to get an allocation, and a member has to be heard of.
func TestSilentStreamsEnd(t *testing.T) {
	for name, dial := range streams {
		t.Run(name, func(t *testing.T) {
			h := startHub(t, Config{}, func(h *Hub) {
				h.admitted.allowLoopback = true
				h.timing.hello, h.timing.dead = 300*time.Millisecond, 600*time.Millisecond
			})
			stranger, began := dial(t, h, "127.0.0.3"), time.Now()
			stranger.Write([]byte{0}) // a stream in any case
			ended(t, stranger)
			if took := time.Since(began); took < 200*time.Millisecond {
				t.Errorf("ended after %v", took)
			}
			member := dial(t, h, "127.0.0.4")
			newStreamClient(t, member, memberCredentials(t, h, config.NewNetworkKey(), 1)).allocate()
			waitFor(t, "relay made", func() bool { return h.relay.streams.Load() == 1 })
			waitFor(t, "relay given up", func() bool { return h.relay.streams.Load() == 0 && h.relay.relayCount() == 0 })
		})
	}
}

func (r *relay) relayCount() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.relays)
}

// A client that takes nothing holds nobody up, and not much waits for it.
func TestStreamThatStandsStill(t *testing.T) {
	h := startRelayHub(t)
	network := config.NewNetworkKey()
	still := &stillConn{Conn: streams["TCP"](t, h, "127.0.0.3"), closed: make(chan struct{})}
	a := newStreamClient(t, still, memberCredentials(t, h, network, 1)).allocate()
	from := newTURNClient(t, h, "127.0.0.4", memberCredentials(t, h, network, 2)).allocate()
	to := newTURNClient(t, h, "127.0.0.5", memberCredentials(t, h, network, 3)).allocate()
	for _, c := range []net.PacketConn{a, to} {
		c.WriteTo([]byte("permits"), from.LocalAddr())
		from.WriteTo([]byte("permits"), c.LocalAddr())
		c.WriteTo([]byte("comes"), from.LocalAddr())
		passes(t, from, "comes")
	}
	still.stands.Store(true)
	for range 30_000 { // 36 MB
		from.WriteTo(make([]byte, 1200), a.LocalAddr())
	}
	start := time.Now()
	from.WriteTo([]byte("passes"), to.LocalAddr())
	passes(t, to, "passes")
	if took := time.Since(start); took > time.Second {
		t.Errorf("another client waited %v", took)
	}
	still.Close()
	waitFor(t, "packets dropped", func() bool { return h.drops.unsent.Load() > 1000 })
}

// stillConn is a connection that its owner reads from no more when it stands.
type stillConn struct {
	net.Conn
	stands atomic.Bool
	once   sync.Once
	closed chan struct{}
}

func (c *stillConn) Read(b []byte) (int, error) {
	if c.stands.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return c.Conn.Read(b)
}

func (c *stillConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A stream's place among its source's strangers is free once it is a member's, and
// counted once.
func TestStreamLeavesItsSourceOnce(t *testing.T) {
	h := startRelayHub(t)
	open := func() int {
		h.strangers.mu.Lock()
		defer h.strangers.mu.Unlock()
		if u := h.strangers.sources[netip.MustParsePrefix("127.0.0.3/32")]; u != nil {
			return u.open
		}
		return 0
	}
	c := streams["WebSocket"](t, h, "127.0.0.3")
	waitFor(t, "a stranger", func() bool { return open() == 1 })
	newStreamClient(t, c, memberCredentials(t, h, config.NewNetworkKey(), 1)).allocate()
	waitFor(t, "no stranger", func() bool { return open() == 0 })
	c.Close()
	waitFor(t, "gone", func() bool { return h.relay.streams.Load() == 0 })
	if n := open(); n != 0 {
		t.Errorf("%d strangers are left", n)
	}
}
