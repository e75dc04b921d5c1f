package config

import (
	"crypto/subtle"
	"fmt"
	"io"
)

// PresharedKey is a WireGuard preshared key, which makes a tunnel as safe as
// the post-quantum exchange that the key came from. The zero value is no key.
// No formatting verb prints it.
type PresharedKey struct{ key secret }

// NewPresharedKey makes a key that nobody else has.
func NewPresharedKey() PresharedKey { return PresharedKey{newSecret()} }

// SetSeed makes k the key that returned seed from Seed.
func (k *PresharedKey) SetSeed(seed []byte) error { return k.key.set("preshared key", seed) }

// Seed returns the secret for storage and for the WireGuard device.
func (k PresharedKey) Seed() []byte { return k.key.get() }

// IsZero says whether k is no key.
func (k PresharedKey) IsZero() bool { return k.key.isZero() }

// Equal compares two keys in constant time.
func (k PresharedKey) Equal(other PresharedKey) bool {
	return subtle.ConstantTimeCompare(k.key.get(), other.key.get()) == 1
}

// Format hides the secret from every verb of package fmt.
func (k PresharedKey) Format(f fmt.State, _ rune) { io.WriteString(f, "preshared key") }

// MarshalText refuses: secrets are stored by Seed, on purpose.
func (k PresharedKey) MarshalText() ([]byte, error) { return nil, errSecret }
