package signaling

import (
	"bytes"
	"slices"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

// TestProofsAreBound shows that no proof of one connection serves another: not
// at a second hub, nor with other nonces, another network, node or TLS session.
func TestProofsAreBound(t *testing.T) {
	hub, node := config.NewHubKey(), config.NewNodeKey()
	h := Handshake{
		HubNonce: count(1, NonceSize), NodeNonce: count(2, NonceSize), Hub: hub.Public(),
		Network: testNetwork.Public(), Node: node.Public(), TLSExporter: count(3, 32),
	}
	hello, welcome, access := h.SignHello(node), h.SignWelcome(hub), h.AccessProof([]byte("key"))
	if !h.VerifyHello(hello) || !h.VerifyWelcome(welcome) || !bytes.Equal(access, h.AccessProof([]byte("key"))) {
		t.Fatal("refused where they were made")
	}
	if h.VerifyHello(welcome) || h.VerifyWelcome(hello) || bytes.Equal(access, h.AccessProof([]byte("kez"))) {
		t.Error("one proof serves for another")
	}
	for name, change := range map[string]func(*Handshake){
		"a second hub":       func(h *Handshake) { h.Hub = config.NewHubKey().Public() },
		"another hub nonce":  func(h *Handshake) { h.HubNonce = count(9, NonceSize) },
		"another node nonce": func(h *Handshake) { h.NodeNonce = count(9, NonceSize) },
		"nonces swapped":     func(h *Handshake) { h.HubNonce, h.NodeNonce = h.NodeNonce, h.HubNonce },
		"a byte moved":       func(h *Handshake) { h.HubNonce, h.NodeNonce = append(h.HubNonce, h.NodeNonce[0]), h.NodeNonce[1:] },
		"another network":    func(h *Handshake) { h.Network = config.NewNetworkKey().Public() },
		"another node":       func(h *Handshake) { h.Node = config.NewNodeKey().Public() },
		"another TLS":        func(h *Handshake) { h.TLSExporter = count(9, 32) },
		"no TLS":             func(h *Handshake) { h.TLSExporter = nil },
		"no hub nonce":       func(h *Handshake) { h.HubNonce = nil },
		"no node nonce":      func(h *Handshake) { h.NodeNonce = nil },
	} {
		other := h
		other.HubNonce, other.NodeNonce = bytes.Clone(h.HubNonce), bytes.Clone(h.NodeNonce)
		change(&other)
		if other.VerifyHello(hello) {
			t.Errorf("hello: taken with %s", name)
		}
		if other.VerifyWelcome(welcome) {
			t.Errorf("welcome: taken with %s", name)
		}
		if name != "a byte moved" && bytes.Equal(other.AccessProof([]byte("key")), access) { // the hub checks nonces by the hello
			t.Errorf("access: the same with %s", name)
		}
	}
	short := h
	short.HubNonce = nil
	if short.VerifyHello(short.SignHello(node)) || short.VerifyWelcome(short.SignWelcome(hub)) {
		t.Error("a handshake without a nonce was taken")
	}
}

func TestPresence(t *testing.T) {
	network, node := testNetwork.Public().ID(), config.NewNodeKey()
	good := Online{Node: node.Public(), Epoch: 7, Signature: SignPresence(node, network, 7)}
	if !good.Verify(network) {
		t.Error("refused")
	}
	for name, o := range map[string]Online{
		"another epoch": {Node: node.Public(), Epoch: 8, Signature: good.Signature},
		"another node":  {Node: config.NewNodeKey().Public(), Epoch: 7, Signature: good.Signature},
		"epoch zero":    {Node: node.Public(), Epoch: 0, Signature: SignPresence(node, network, 0)},
		"unsigned":      {Node: node.Public(), Epoch: 7},
	} {
		if o.Verify(network) {
			t.Errorf("%s: taken", name)
		}
	}
	if good.Verify(config.ID{1}) {
		t.Error("another network's: taken")
	}
}

func TestDigest(t *testing.T) {
	a, b, c := [32]byte{1}, [32]byte{2}, [32]byte{3}
	want := Digest([][32]byte{a, b})
	if !bytes.Equal(Digest([][32]byte{b, a}), want) {
		t.Error("it depends on the order")
	}
	others := [][]byte{Digest(nil), Digest([][32]byte{a}), Digest([][32]byte{a, c}), Digest([][32]byte{a, b, c}), want}
	for i, d := range others {
		if slices.IndexFunc(others, func(o []byte) bool { return bytes.Equal(o, d) }) != i {
			t.Errorf("set %d has the digest of another", i)
		}
	}
}
