package hub

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"net/http"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// dialEarly says the member's hello with the request, made for the TLS session
// that it is sent in, or for other.
func dialEarly(t *testing.T, h *testHub, m *member, other net.Conn) *wsClient {
	t.Helper()
	conn, err := tls.Dial("tcp", h.Addr().String(), anyCertificate)
	if err != nil {
		t.Fatal(err)
	}
	if other == nil {
		other = conn
	}
	shake := signaling.Handshake{NodeNonce: make([]byte, signaling.NonceSize), Hub: h.identity.Public(), Network: m.network.Public(), Node: m.node()}
	rand.Read(shake.NodeNonce)
	if shake.HubNonce, err = signaling.EarlyNonce(other); err != nil {
		t.Fatal(err)
	}
	if shake.TLSExporter, err = signaling.Exporter(other); err != nil {
		t.Fatal(err)
	}
	hello, err := signaling.Encode(&signaling.Hello{
		Network: shake.Network, Node: shake.Node, Nonce: shake.NodeNonce, Signature: shake.SignHello(m.key),
		Epoch: m.epoch, Presence: signaling.SignPresence(m.key, shake.Network.ID(), m.epoch),
		Proof: [][]byte{m.record.Bytes()}, Access: shake.AccessProof(h.access()),
	})
	if err != nil {
		t.Fatal(err)
	}
	d := websocket.Dialer{
		Subprotocols:      []string{signaling.Subprotocol},
		NetDialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	ws, _, err := d.Dial(h.url(), http.Header{signaling.HelloHeader: {string(hello)}})
	if err != nil {
		t.Fatal(err)
	}
	c := newWSClient(t, ws)
	c.shake = shake
	return c
}

// A hello that comes with the request is good in its TLS session, and in no other.
func TestEarlyHello(t *testing.T) {
	h := startHub(t, Config{})
	m := newMember(t, config.NewNetworkKey(), 1)
	c := dialEarly(t, h, m, nil)
	c.greeting(true)
	c.settled()

	dialEarly(t, h, m, c.ws.NetConn()).expectError(signaling.CodeUnauthorized)
	for _, said := range []string{"x", "{}", `{"type":"welcome"}`} {
		ws, _, err := dialWith(h, signaling.Subprotocol, http.Header{signaling.HelloHeader: {said}})
		if err != nil {
			t.Fatal(err)
		}
		newWSClient(t, ws).expectError(signaling.CodeProtocol)
	}
}

// Where the hub does not end TLS it cannot know whose hello it is: it asks.
func TestEarlyHelloWithoutTLS(t *testing.T) {
	h := startHub(t, Config{PlainHTTP: true})
	m := newMember(t, config.NewNetworkKey(), 1)
	ws, _, err := dialWith(h, signaling.Subprotocol, http.Header{signaling.HelloHeader: {"x"}})
	if err != nil {
		t.Fatal(err)
	}
	c := newWSClient(t, ws)
	c.hello(m, c.withAccess(h))
	c.greeting(true)
}
