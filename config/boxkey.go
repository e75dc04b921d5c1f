package config

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
)

// WireGuardKey is a node's X25519 public key, as WireGuard uses it.
type WireGuardKey [32]byte

// String is the first characters of the usual base64 form.
func (k WireGuardKey) String() string { return "wg:" + base64.StdEncoding.EncodeToString(k[:])[:8] }

// WireGuardPrivateKey is a node's X25519 private key. No formatting verb
// prints it. It is compared by its public half.
type WireGuardPrivateKey struct{ scalar secret }

// NewWireGuardKey makes a WireGuard key pair's private half.
func NewWireGuardKey() WireGuardPrivateKey {
	k := WireGuardPrivateKey{newSecret()}
	k.clamp()
	return k
}

// SetSeed makes k the key that returned seed from Seed.
func (k *WireGuardPrivateKey) SetSeed(seed []byte) error {
	if err := k.scalar.set("wireguard private key", seed); err != nil {
		return err
	}
	k.clamp()
	return nil
}

func (k *WireGuardPrivateKey) clamp() {
	b := k.scalar.bytes
	b[0] &= 248
	b[31] = b[31]&127 | 64
}

// Seed returns the secret for storage and for the WireGuard device.
func (k WireGuardPrivateKey) Seed() []byte { return k.scalar.get() }

// Public returns the public half.
func (k WireGuardPrivateKey) Public() WireGuardKey {
	return WireGuardKey(k.ecdh().PublicKey().Bytes())
}

// Shared is the X25519 secret that this key and the peer's have in common.
// It fails for a peer key of small order.
func (k WireGuardPrivateKey) Shared(peer WireGuardKey) ([]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(peer[:])
	if err != nil {
		return nil, fmt.Errorf("wireguard key %v: %w", peer, err)
	}
	shared, err := k.ecdh().ECDH(pub)
	if err != nil {
		return nil, fmt.Errorf("wireguard key %v: %w", peer, err)
	}
	return shared, nil
}

func (k WireGuardPrivateKey) ecdh() *ecdh.PrivateKey {
	priv, err := ecdh.X25519().NewPrivateKey(k.scalar.get())
	if err != nil {
		panic(err) // any 32 bytes are a key
	}
	return priv
}

// Format hides the secret from every verb of package fmt.
func (k WireGuardPrivateKey) Format(f fmt.State, _ rune) {
	io.WriteString(f, "wireguard private key")
}

// MarshalText refuses: secrets are stored by Seed, on purpose.
func (k WireGuardPrivateKey) MarshalText() ([]byte, error) { return nil, errSecret }

// SealingKeySize is the length of an MLKEM768X25519 public key in bytes.
const SealingKeySize = 1216

// SealingKey is a node's HPKE public key (MLKEM768X25519), to which offers
// and joins are sealed.
type SealingKey [SealingKeySize]byte

// Hash names the key in an invite, where the key itself would be too long.
func (k *SealingKey) Hash() [32]byte { return sha256.Sum256(k[:]) }

// HPKE returns the key for package hpke; it fails on bytes that are no key.
func (k *SealingKey) HPKE() (hpke.PublicKey, error) {
	pub, err := hpke.MLKEM768X25519().NewPublicKey(k[:])
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	return pub, nil
}

// String is the first characters of the key's hash.
func (k *SealingKey) String() string {
	h := k.Hash()
	return "seal:" + idEncoding.EncodeToString(h[:])[:8]
}

// SealingPrivateKey opens what was sealed to a node. No formatting verb
// prints it. It is compared by its public half.
type SealingPrivateKey struct{ seed secret }

// NewSealingKey makes a sealing key pair's private half.
func NewSealingKey() SealingPrivateKey { return SealingPrivateKey{newSecret()} }

// SetSeed makes k the key that returned seed from Seed.
func (k *SealingPrivateKey) SetSeed(seed []byte) error {
	return k.seed.set("sealing private key", seed)
}

// Seed returns the secret for storage.
func (k SealingPrivateKey) Seed() []byte { return k.seed.get() }

// HPKE returns the key for package hpke.
func (k SealingPrivateKey) HPKE() hpke.PrivateKey {
	priv, err := hpke.MLKEM768X25519().NewPrivateKey(k.seed.get())
	if err != nil {
		panic(err) // any 32 bytes are a seed
	}
	return priv
}

// Public returns the public half.
func (k SealingPrivateKey) Public() SealingKey {
	return SealingKey(k.HPKE().PublicKey().Bytes())
}

// Format hides the secret from every verb of package fmt.
func (k SealingPrivateKey) Format(f fmt.State, _ rune) { io.WriteString(f, "sealing private key") }

// MarshalText refuses: secrets are stored by Seed, on purpose.
func (k SealingPrivateKey) MarshalText() ([]byte, error) { return nil, errSecret }
