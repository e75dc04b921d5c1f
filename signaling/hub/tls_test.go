package hub

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// peerTLS makes a TLS session with what listens there, and tells of it.
func peerTLS(t *testing.T, at net.Addr, name string) tls.ConnectionState {
	t.Helper()
	cache := tls.NewLRUClientSessionCache(1)
	var state tls.ConnectionState
	for range 2 { // the second would take the first one's ticket
		conn, err := tls.Dial("tcp", at.String(), &tls.Config{InsecureSkipVerify: true, ServerName: name, ClientSessionCache: cache})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		io.Copy(io.Discard, conn) // tickets come with the first bytes
		state = conn.ConnectionState()
		conn.Close()
	}
	return state
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	h := startHub(t, Config{State: dir})
	s := peerTLS(t, h.listener.Addr(), "")
	if s.Version != tls.VersionTLS13 || s.CurveID != tls.X25519MLKEM768 || s.DidResume {
		t.Errorf("version %x, key exchange %v, resumed %v", s.Version, s.CurveID, s.DidResume)
	}
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
	if conn, err := tls.Dial("tcp", h.Addr().String(), old); err == nil {
		conn.Close()
		t.Error("it speaks TLS 1.2")
	}
	_, frames := startClient(t, h.Link(), newMember(t, config.NewNetworkKey(), 1))
	await[*signaling.Credentials](t, frames)

	h.stop()
	again := peerTLS(t, startHub(t, Config{State: dir}).listener.Addr(), "")
	if !bytes.Equal(again.PeerCertificates[0].RawSubjectPublicKeyInfo, s.PeerCertificates[0].RawSubjectPublicKeyInfo) {
		t.Error("another TLS key after a restart")
	}
}

// Who stops before the hub knows what it wants is dropped, wherever it stops.
func TestSlowRequest(t *testing.T) {
	h := startHub(t, Config{}, func(h *Hub) { h.timing.request = 50 * time.Millisecond })
	for _, said := range []string{"", "\x16\x03\x01"} {
		conn, err := net.Dial("tcp", h.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, said)
		expectDropped(t, conn)
	}
	for _, said := range []string{"", "GET /v1/signal HT", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"} {
		conn, err := tls.Dial("tcp", h.Addr().String(), anyCertificate)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, said)
		expectDropped(t, conn)
	}
}

// expectDropped reads up to the end, which has to come from the other side.
func expectDropped(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(patience))
	var timeout net.Error
	if _, err := io.Copy(io.Discard, conn); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("it was not dropped")
	}
}

// stranger ends TLS with a certificate and keeps what it is then sent.
func stranger(t *testing.T, cert tls.Certificate) (url string, got func() []byte) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all []byte
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				b, _ := io.ReadAll(conn)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, b...)
			})
		}
	})
	return "wss://localhost:" + fmt.Sprint(addrPort(l.Addr()).Port()), func() []byte {
		l.Close()
		served.Wait()
		return all
	}
}

// Who stands in the hub's place without its certificate is not sent a byte:
// neither the record nor the ticket, not even what the client is.
func TestTLSStrangers(t *testing.T) {
	h, other := startHub(t, Config{}), startHub(t, Config{})
	extension := func(h *testHub) func(*x509.Certificate) {
		cert := peerTLS(t, h.listener.Addr(), "").PeerCertificates[0]
		return func(c *x509.Certificate) { c.ExtraExtensions = cert.Extensions[len(cert.Extensions)-1:] }
	}
	othersOwn, err := signaling.HubCertificate(other.identity, other.state.tls)
	if err != nil {
		t.Fatal(err)
	}
	name := []string{"localhost"}
	for _, tt := range []struct {
		name string
		cert tls.Certificate
		want string
	}{
		{"self-signed", certify(t, nil), "neither that of " + h.Link().Key.String()},
		{"the hub's extension, another key", certify(t, nil, extension(h)), "neither that of"},
		{"another hub", *othersOwn, "the hub says it is " + other.Link().Key.String()},
		{"another hub's extension", certify(t, nil, extension(other)), "neither that of"},
		{"for another name", certify(t, []string{"hub.example.org"}), "certificate is valid for hub.example.org"},
		{"expired", certify(t, name, expired), "expired"},
		{"not for servers", certify(t, name, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "key usage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			link := h.Link()
			at, got := stranger(t, tt.cert)
			link.URLs = []string{at}
			_, frames := startClient(t, link, newMember(t, config.NewNetworkKey(), 1))
			if err := await[*signaling.Down](t, frames).Err; !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if b := got(); len(b) > 0 {
				t.Errorf("it was sent %d bytes: %.60q", len(b), b)
			}
		})
	}
}

// mitm ends the client's WebSocket and makes one of its own to the hub; change
// may alter what the hub says.
func mitm(t *testing.T, h *testHub, cert tls.Certificate, change func([]byte) []byte) (url string) {
	t.Helper()
	up := websocket.Upgrader{Subprotocols: []string{signaling.Subprotocol}}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer client.Close()
		hub, _, err := dialWith(h, signaling.Subprotocol, nil)
		if err != nil {
			return
		}
		defer hub.Close()
		go func() {
			pump(hub, client, func(b []byte) []byte { return b })
			hub.Close()
		}()
		pump(client, hub, change)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return "wss://localhost:" + s.URL[strings.LastIndex(s.URL, ":")+1:]
}

func pump(to, from *websocket.Conn, change func([]byte) []byte) {
	for {
		kind, b, err := from.ReadMessage()
		if err != nil || to.WriteMessage(kind, change(b)) != nil {
			return
		}
	}
}

// Who ends TLS in between with a certificate that the system trusts, and hands
// all on, is refused by the hub: what it is told of its TLS is no way round.
func TestTLSEndedInBetween(t *testing.T) {
	h := startHub(t, Config{})
	cert := certify(t, []string{"localhost"})
	for name, change := range map[string]func([]byte) []byte{
		"passed on":  func(b []byte) []byte { return b },
		"downgraded": func(b []byte) []byte { return bytes.Replace(b, []byte(`"tls":true`), []byte(`"tls":false`), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMember(t, config.NewNetworkKey(), 1)
			link := h.Link()
			seen := false
			link.URLs = []string{mitm(t, h, cert, func(b []byte) []byte {
				seen = seen || bytes.Contains(b, []byte(`"tls":true`))
				return change(b)
			})}
			_, frames := startClient(t, link, m)
			var refusal *signaling.Error
			err := await[*signaling.Down](t, frames).Err
			if !errors.As(err, &refusal) || refusal.Code != signaling.CodeUnauthorized || !seen {
				t.Errorf("got %v, challenge seen %v; want the hub to refuse the hello", err, seen)
			}
			if known, err := h.store.Known(m.network.Public()); known || err != nil {
				t.Errorf("the network was made: %v, %v", known, err)
			}
		})
	}
}

// A client that has the hub's own certificate does not believe that there is
// no TLS to prove.
func TestTLSOwnCertificateBindsAlways(t *testing.T) {
	key := config.NewHubKey()
	h := startHub(t, Config{})
	cert, err := signaling.HubCertificate(key, h.state.tls)
	if err != nil {
		t.Fatal(err)
	}
	plain := startHub(t, Config{PlainHTTP: true}, func(h *Hub) { h.identity = key })
	link := plain.Link()
	link.Key = key.Public()
	link.URLs = []string{mitm(t, plain, *cert, func(b []byte) []byte { return b })}
	_, frames := startClient(t, link, newMember(t, config.NewNetworkKey(), 1))
	var refusal *signaling.Error
	if err := await[*signaling.Down](t, frames).Err; !errors.As(err, &refusal) || refusal.Code != signaling.CodeUnauthorized {
		t.Errorf("got %v", err)
	}
}

// Behind a proxy that has TLS the hub has none, and members reach it by the
// URL that the operator gives.
func TestBehindProxy(t *testing.T) {
	front := httptest.NewUnstartedServer(nil)
	at := fmt.Sprintf("wss://localhost:%d", addrPort(front.Listener.Addr()).Port())
	h := startHub(t, Config{PlainHTTP: true, URLs: []string{at}})
	if got := h.Link().URLs; len(got) != 1 || got[0] != at {
		t.Fatalf("the link has %v", got)
	}
	front.Config.Handler = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: h.Addr().String()})
	front.TLS = &tls.Config{Certificates: []tls.Certificate{certify(t, []string{"localhost"})}}
	front.StartTLS()
	t.Cleanup(front.Close)
	_, frames := startClient(t, h.Link(), newMember(t, config.NewNetworkKey(), 1))
	if w := await[*signaling.Welcome](t, frames); w.Observed != "" {
		t.Errorf("the hub takes the proxy's address %s for the node's", w.Observed)
	}
}

// The operator's certificate is for those who ask for its name, the hub's own
// for all others: both kinds of URL work.
func TestOperatorCertificate(t *testing.T) {
	cert, key := newPair(t, []string{"localhost", "*.example.org"})
	h := startHub(t, Config{TLSCert: cert, TLSKey: key, PublicAddrs: []netip.Addr{loopback, netip.MustParseAddr("192.0.2.1")}})
	port := h.Addr().Port()
	want := fmt.Sprintf("[wss://localhost:%d wss://127.0.0.1:%d wss://192.0.2.1:%d]", port, port, port)
	if got := fmt.Sprint(h.Link().URLs); got != want {
		t.Errorf("the link has %s, want %s", got, want)
	}
	for name, named := range map[string]bool{"localhost": true, "hub.example.org": true, "": false, "example.com": false} {
		if got := peerTLS(t, h.listener.Addr(), name).PeerCertificates[0]; len(got.DNSNames) > 0 != named {
			t.Errorf("%q is answered with a certificate for %v", name, got.DNSNames)
		}
	}
	for _, u := range h.Link().URLs[:2] {
		link := h.Link()
		link.URLs = []string{u}
		_, frames := startClient(t, link, newMember(t, config.NewNetworkKey(), 1))
		await[*signaling.Welcome](t, frames)
	}
}
