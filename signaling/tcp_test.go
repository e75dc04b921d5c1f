package signaling

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// fakeProxy answers each request with a text, and then says what it hears again.
func fakeProxy(t *testing.T, answer string) (proxy *url.URL, heard <-chan *http.Request) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	requests := make(chan *http.Request, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				requests <- r
				io.WriteString(c, answer)
				io.Copy(c, c)
			}()
		}
	}()
	return &url.URL{Scheme: "http", Host: l.Addr().String()}, requests
}

func TestThroughProxy(t *testing.T) {
	dial := new(net.Dialer).DialContext
	proxy, heard := fakeProxy(t, "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")
	proxy.User = url.UserPassword("u", "p:w")
	c, err := throughProxy(t.Context(), dial, proxy, "hub.example:443")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r := <-heard; r.Method != "CONNECT" || r.RequestURI != "hub.example:443" || r.Host != "hub.example:443" || r.Header.Get("Proxy-Authorization") != "Basic dTpwOnc=" {
		t.Errorf("asked %s %s of %s, %v", r.Method, r.RequestURI, r.Host, r.Header)
	}
	io.WriteString(c, "hello")
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestThroughProxyRefused(t *testing.T) {
	dial := new(net.Dialer).DialContext
	for answer, want := range map[string]string{
		"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n":               "USER:PASSWORD",
		"HTTP/1.1 403 Forbidden\r\n\r\n":                                   "403",
		"HTTP/1.1 200 OK\r\n\r\nmore":                                      "more than was asked for",
		"SSH-2.0-x\r\n":                                                    "answer",
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("x: y\r\n", maxProxyAnswer): "answer",
	} {
		proxy, _ := fakeProxy(t, answer)
		if _, err := throughProxy(t.Context(), dial, proxy, "hub:443"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %q", answer, err, want)
		}
	}
	if _, err := throughProxy(t.Context(), dial, &url.URL{Scheme: "socks5", Host: "127.0.0.1:1"}, "hub:443"); err == nil || !strings.Contains(err.Error(), "no HTTP proxy") {
		t.Error(err)
	}
	// One under TLS that nobody trusts, and one that says nothing.
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	defer untrusted.Close()
	at, _ := url.Parse(untrusted.URL)
	if _, err := throughProxy(t.Context(), dial, at, "hub:443"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	silent, _ := fakeProxy(t, "")
	if _, err := throughProxy(ctx, dial, silent, "hub:443"); err == nil {
		t.Error("a proxy that says nothing has connected")
	}
}

// What leads to a hub's relay, by each way.
func TestRelayURLs(t *testing.T) {
	for _, tt := range []struct{ hub, tcp, tls, web string }{
		{"wss://192.0.2.1:443", "turn:192.0.2.1:443?transport=tcp", "turns:192.0.2.1:443?transport=tcp", "wss://192.0.2.1:443/v1/relay"},
		{"ws://[2001:db8::1]:80", "turn:[2001:db8::1]:80?transport=tcp", "", "ws://[2001:db8::1]:80/v1/relay"},
	} {
		if got := [3]string{RelayTCP.RelayURL(tt.hub), RelayTLS.RelayURL(tt.hub), RelayWebSocket.RelayURL(tt.hub)}; got != [3]string{tt.tcp, tt.tls, tt.web} {
			t.Errorf("%s: %q", tt.hub, got)
		}
	}
}
