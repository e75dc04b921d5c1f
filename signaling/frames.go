package signaling

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.zx2c4.com/wireguard/replay"
)

// frames seals and opens the messages of one session: ChaCha20-Poly1305, one
// key per direction, the counter as nonce, gaps allowed, repeats refused.
//
//	3 ‖ session (8) ‖ counter (8) ‖ ciphertext     (the first 17 bytes authenticated)
type frames struct {
	session uint64
	counter uint64
	seals   cipher.AEAD
	opens   cipher.AEAD
	window  replay.Filter
}

const frameHeader = 1 + 8 + 8

var errReplay = errors.New("sealed message: seen before, or too old")

// IsStale says of an error of Pair.Open that the message came too late: it was
// opened before, or is of an earlier session or run. That happens to honest
// peers, too, and is all that a replay comes to.
func IsStale(err error) bool {
	return errors.Is(err, errReplay) || errors.Is(err, errOld) || errors.Is(err, errNoSession)
}

func newFrames(session uint64, sealKey, openKey []byte) *frames {
	f := &frames{session: session}
	f.seals, _ = chacha20poly1305.New(sealKey) // fails only for a wrong length
	f.opens, _ = chacha20poly1305.New(openKey)
	return f
}

func (f *frames) seal(content []byte) []byte {
	msg := make([]byte, frameHeader, frameHeader+len(content)+chacha20poly1305.Overhead)
	msg[0] = sealFrame
	binary.BigEndian.PutUint64(msg[1:], f.session)
	binary.BigEndian.PutUint64(msg[9:], f.counter)
	msg = f.seals.Seal(msg, frameNonce(f.counter), content, msg[:frameHeader])
	f.counter++
	return msg
}

func (f *frames) open(msg []byte) ([]byte, error) {
	if len(msg) < frameHeader+chacha20poly1305.Overhead {
		return nil, errSeal
	}
	if binary.BigEndian.Uint64(msg[1:]) != f.session {
		return nil, errOld
	}
	counter := binary.BigEndian.Uint64(msg[9:])
	content, err := f.opens.Open(nil, frameNonce(counter), msg[frameHeader:], msg[:frameHeader])
	if err != nil {
		return nil, errSeal
	}
	if !f.window.ValidateCounter(counter, maxCounter) {
		return nil, errReplay
	}
	return content, nil
}

// maxCounter is far above what a session sends.
const maxCounter = 1 << 60

func frameNonce(counter uint64) []byte {
	var n [chacha20poly1305.NonceSize]byte
	binary.BigEndian.PutUint64(n[4:], counter)
	return n[:]
}
