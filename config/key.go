package config

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"io"
)

// Ed25519 keys are distinct types by role, so that a network's key cannot be
// passed where a node's is wanted.
type (
	networkRole struct{}
	nodeRole    struct{}
	hubRole     struct{}
)

func (networkRole) role() string { return "network" }
func (nodeRole) role() string    { return "node" }
func (hubRole) role() string     { return "hub" }

type role interface{ role() string }

// PublicKey is the Ed25519 public key of one role. The zero value is no key.
// It is comparable and may be a map key.
type PublicKey[R role] [ed25519.PublicKeySize]byte

// PrivateKey is the Ed25519 private key of one role. No formatting verb
// prints it. It is compared by its public half.
type PrivateKey[R role] struct{ seed secret }

// The roles: a network's root of trust, a node's identity, a hub's identity.
type (
	NetworkKey        = PublicKey[networkRole]
	NodeKey           = PublicKey[nodeRole]
	HubKey            = PublicKey[hubRole]
	NetworkPrivateKey = PrivateKey[networkRole]
	NodePrivateKey    = PrivateKey[nodeRole]
	HubPrivateKey     = PrivateKey[hubRole]
)

// ID is the 128-bit hash that names a network or a node.
type ID [16]byte

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// String is the ID in lower-case base32, 26 characters.
func (id ID) String() string { return idEncoding.EncodeToString(id[:]) }

// ID returns the hash that names the key's owner.
func (k PublicKey[R]) ID() ID {
	var r R
	h := sha256.New()
	io.WriteString(h, "p2ptun/v1/id/"+r.role())
	h.Write([]byte{0})
	h.Write(k[:])
	return ID(h.Sum(nil))
}

// IsZero says whether k is no key.
func (k PublicKey[R]) IsZero() bool { return k == PublicKey[R]{} }

// Verify says whether sig is k's signature over msg. Nothing is signed by the
// zero key: its bytes are a point of small order, under which anybody can make
// signatures that package ed25519 takes.
func (k PublicKey[R]) Verify(msg, sig []byte) bool {
	return !k.IsZero() && len(sig) == ed25519.SignatureSize && ed25519.Verify(k[:], msg, sig)
}

// String is the role and the first characters of the ID, enough to tell keys
// apart in a log.
func (k PublicKey[R]) String() string {
	var r R
	return r.role() + ":" + k.ID().String()[:8]
}

// MarshalText encodes the whole key in base64.
func (k PublicKey[R]) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, k[:]), nil
}

// UnmarshalText takes what MarshalText made.
func (k *PublicKey[R]) UnmarshalText(text []byte) error {
	return unmarshalFixed(k[:], text)
}

// NewNetworkKey makes a network's private key.
func NewNetworkKey() NetworkPrivateKey { return newPrivateKey[networkRole]() }

// NewNodeKey makes a node's private key.
func NewNodeKey() NodePrivateKey { return newPrivateKey[nodeRole]() }

// NewHubKey makes a hub's private key.
func NewHubKey() HubPrivateKey { return newPrivateKey[hubRole]() }

func newPrivateKey[R role]() PrivateKey[R] {
	return PrivateKey[R]{newSecret()}
}

// SetSeed makes k the key that returned seed from Seed.
func (k *PrivateKey[R]) SetSeed(seed []byte) error {
	var r R
	return k.seed.set(r.role()+" private key", seed)
}

// Seed returns the secret for storage.
func (k PrivateKey[R]) Seed() []byte { return k.seed.get() }

// IsZero says whether k is no key.
func (k PrivateKey[R]) IsZero() bool { return k.seed.isZero() }

// Public returns the public half.
func (k PrivateKey[R]) Public() PublicKey[R] {
	return PublicKey[R](ed25519.NewKeyFromSeed(k.seed.get())[ed25519.SeedSize:])
}

// Sign signs msg. The caller has put a label for the kind of object in front:
// no key signs bytes that a stranger chose.
func (k PrivateKey[R]) Sign(msg []byte) []byte {
	return ed25519.Sign(ed25519.NewKeyFromSeed(k.seed.get()), msg)
}

// Format hides the secret from every verb of package fmt.
func (k PrivateKey[R]) Format(f fmt.State, _ rune) {
	var r R
	io.WriteString(f, r.role()+" private key")
}

// MarshalText refuses: secrets are stored by Seed, on purpose.
func (k PrivateKey[R]) MarshalText() ([]byte, error) { return nil, errSecret }

func unmarshalFixed(dst, text []byte) error {
	if base64.StdEncoding.DecodedLen(len(text)) > len(dst)+2 {
		return fmt.Errorf("key: too long for %d bytes", len(dst))
	}
	b, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || len(b) != len(dst) {
		return fmt.Errorf("key: want %d bytes in base64", len(dst))
	}
	copy(dst, b)
	return nil
}
