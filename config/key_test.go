package config

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"
)

func TestPublicKeyText(t *testing.T) {
	want := NewNodeKey().Public()
	text, err := json.Marshal(map[NodeKey]NodeKey{want: want})
	if err != nil {
		t.Fatal(err)
	}
	var got map[NodeKey]NodeKey
	if err := json.Unmarshal(text, &got); err != nil || got[want] != want {
		t.Errorf("%s came back as %v, %v", text, got, err)
	}
	full := base64.StdEncoding.EncodeToString(want[:])
	for _, bad := range []string{"", "AAAA", full[:43], full[:42] + "==", full + "AAAA", full + full, "!" + full[1:], full[:42] + "B="} {
		k := NodeKey{1}
		if err := k.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: taken as %v", bad, k)
		}
		if k != (NodeKey{1}) {
			t.Errorf("%q: refused, but the key has changed", bad)
		}
	}
}

func TestKeysSignAndVerify(t *testing.T) {
	k := NewNodeKey()
	msg := []byte("label\x00body")
	sig := k.Sign(msg)
	pub := k.Public()
	if !pub.Verify(msg, sig) {
		t.Error("own signature refused")
	}
	for _, c := range []struct {
		name     string
		key      NodeKey
		msg, sig []byte
	}{
		{"other message", pub, []byte("label\x00bodY"), sig},
		{"other key", NewNodeKey().Public(), msg, sig},
		{"short signature", pub, msg, sig[:63]},
		{"long signature", pub, msg, append(bytes.Clone(sig), 0)},
		{"no signature", pub, msg, nil},
	} {
		if c.key.Verify(c.msg, c.sig) {
			t.Errorf("%s: taken", c.name)
		}
	}
}

// Under the zero key, a point of order 4, the signature with R the identity
// and S zero is valid for every fourth message.
func TestZeroKeySignsNothing(t *testing.T) {
	sig := make([]byte, ed25519.SignatureSize)
	sig[0] = 1
	forged := 0
	for i := range uint32(100) {
		msg := binary.BigEndian.AppendUint32(nil, i)
		if ed25519.Verify(make([]byte, 32), msg, sig) {
			forged++
		}
		if (NetworkKey{}).Verify(msg, sig) {
			t.Fatalf("message %d is signed by the zero key", i)
		}
	}
	if forged == 0 {
		t.Error("no forged signature to refuse: the test shows nothing")
	}
}

func TestSeeds(t *testing.T) {
	node, wg, seal := NewNodeKey(), NewWireGuardKey(), NewSealingKey()
	var node2 NodePrivateKey
	var wg2 WireGuardPrivateKey
	var seal2 SealingPrivateKey
	if err := cmp.Or(node2.SetSeed(node.Seed()), wg2.SetSeed(wg.Seed()), seal2.SetSeed(seal.Seed())); err != nil {
		t.Fatal(err)
	}
	if node2.Public() != node.Public() || wg2.Public() != wg.Public() || seal2.Public() != seal.Public() {
		t.Error("a key came back from its seed as another")
	}
	for _, n := range []int{0, 31, 33} {
		if node2.SetSeed(make([]byte, n)) == nil || wg2.SetSeed(make([]byte, n)) == nil || seal2.SetSeed(make([]byte, n)) == nil {
			t.Errorf("a seed of %d bytes was taken", n)
		}
	}
	if node2.Public() != node.Public() || wg2.Public() != wg.Public() || seal2.Public() != seal.Public() {
		t.Error("a refused seed changed the key")
	}
	before := node.Public()
	node.Seed()[0] ^= 1
	seed := node.Seed()
	node3 := node
	setSeed(t, &node3)
	if node.Public() != before || !bytes.Equal(node.Seed(), seed) {
		t.Error("a seed or a copy changed the key itself")
	}
	if (NodePrivateKey{}).IsZero() != true || node.IsZero() {
		t.Error("IsZero is wrong")
	}
}

// The names of keys stand in logs, invites and status: they never change.
func TestKeyNames(t *testing.T) {
	var k [32]byte
	for i := range k {
		k[i] = byte(i)
	}
	sealing := SealingKey(bytes.Repeat(k[:], SealingKeySize/len(k)))
	for _, c := range []struct{ got, want string }{
		{NodeKey(k).ID().String(), "tmvksy47np4ianv2squzwbgzoi"},
		{NetworkKey(k).ID().String(), "ygj22lxlxxcaboo4j46ftrbj7a"},
		{NodeKey(k).String(), "node:tmvksy47"},
		{NetworkKey(k).String(), "network:ygj22lxl"},
		{HubKey(k).String(), "hub:gmivtro6"},
		{WireGuardKey(k).String(), "wg:AAECAwQF"},
		{sealing.String(), "seal:dvbzj6nr"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

func TestWireGuardShared(t *testing.T) {
	a, b := NewWireGuardKey(), NewWireGuardKey()
	ab, err := a.Shared(b.Public())
	if err != nil {
		t.Fatal(err)
	}
	ba, err := b.Shared(a.Public())
	if err != nil || !bytes.Equal(ab, ba) {
		t.Errorf("%x and %x, %v: want the same", ab, ba, err)
	}
	// The points of small order (RFC 7748, section 6.1) give a secret that
	// everybody knows.
	for _, low := range []WireGuardKey{{}, {1}} {
		if s, err := a.Shared(low); err == nil {
			t.Errorf("key %x has the secret %x in common", low, s)
		}
	}
}

func TestSealingKeyHPKE(t *testing.T) {
	pub := NewSealingKey().Public()
	if key, err := pub.HPKE(); err != nil || !bytes.Equal(key.Bytes(), pub[:]) {
		t.Errorf("%v, %v", key, err)
	}
	for i := range pub {
		pub[i] = 0xff // coefficients that are not reduced (FIPS 203, section 7.2)
	}
	if _, err := pub.HPKE(); err == nil {
		t.Error("bytes that are no key were taken")
	}
}
