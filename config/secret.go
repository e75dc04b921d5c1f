package config

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
)

// secret is the 32 bytes of a private key. They lie behind a pointer because
// package fmt calls no Format method in unexported fields, nor for some verbs
// used wrongly: it prints an address then. The zero value is 32 zero bytes.
type secret struct{ bytes *[32]byte }

var errSecret = errors.New("a secret is not printed")

func newSecret() secret {
	var b [32]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	return secret{&b}
}

func (s *secret) set(what string, b []byte) error {
	if len(b) != 32 {
		return fmt.Errorf("%s: want 32 bytes, got %d", what, len(b))
	}
	s.bytes = new([32]byte(b))
	return nil
}

// get returns a copy.
func (s secret) get() []byte {
	if s.bytes == nil {
		return make([]byte, 32)
	}
	return append([]byte(nil), s.bytes[:]...)
}

func (s secret) isZero() bool { return subtle.ConstantTimeCompare(s.get(), make([]byte, 32)) == 1 }
