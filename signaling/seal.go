package signaling

import (
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/crypto/cryptobyte"
)

// Offer and answer are HPKE seals (RFC 9180, base mode), which authenticate
// nobody; the signature inside does. The offer goes to the receiver's sealing
// key and brings a fresh key, to which the answer is sealed:
//
//	offer  = 1 ‖ enc (1120) ‖ seal(session (8) ‖ from epoch (8) ‖ to epoch (8)
//	         ‖ clock (8) ‖ fresh key (1216) ‖ content (2+n) ‖ signature (64))
//	answer = 2 ‖ enc (1120) ‖ seal(the same without the fresh key)
//	frame  = 3 ‖ session (8) ‖ counter (8) ‖ ciphertext, see frames.go
//	epoch  = 4 ‖ epoch (8) ‖ presence signature (64)
//
// The clock is the sender's, in Unix seconds.
const (
	sealOffer  = 1
	sealAnswer = 2
	sealFrame  = 3
	sealEpoch  = 4

	encSize   = 1120 // MLKEM768X25519 encapsulated key
	exportLen = 32
)

var errSeal = errors.New("sealed message: not for this node, or altered")

// seal is what an offer or an answer says inside.
type seal struct {
	session   uint64
	fromEpoch Epoch
	toEpoch   Epoch
	clock     int64  // Unix seconds
	fresh     []byte // offer only: the public key the answer is sealed to
	content   []byte
}

// ends are the two nodes of a seal, seen from its sender.
type ends struct {
	network  config.ID
	from, to *end
}

// end is one node's public half.
type end struct {
	node      config.NodeKey
	wireGuard config.WireGuardKey
	sealing   config.SealingKey
}

func (e ends) info(label string, bind []byte) []byte {
	return slices.Concat([]byte("p2ptun/v1/"+label), []byte{0}, e.network[:], e.from.node[:], e.to.node[:], bind)
}

// signedBody is what the signature inside a seal covers. enc binds it to this
// very seal: a receiver cannot seal it again to somebody else.
func (e ends) signedBody(role byte, s *seal, bind, enc []byte) []byte {
	fromSealing, toSealing := e.from.sealing.Hash(), e.to.sealing.Hash()
	b := cryptobyte.NewBuilder([]byte{role})
	b.AddBytes(e.from.node[:])
	b.AddBytes(e.to.node[:])
	b.AddBytes(fromSealing[:])
	b.AddBytes(toSealing[:])
	b.AddUint64(uint64(s.fromEpoch))
	b.AddUint64(uint64(s.toEpoch))
	b.AddUint64(s.session)
	b.AddUint64(uint64(s.clock))
	addBytes16(b, bind)
	addBytes16(b, enc)
	addBytes16(b, s.fresh)
	addBytes16(b, s.content)
	return toSign(kindSeal, e.network, b.BytesOrPanic())
}

// make seals s to key. bind is empty for an offer, the offer's hash for its
// answer. It returns the message and the exported secret.
func (e ends) make(role byte, key hpke.PublicKey, signer config.NodePrivateKey, s *seal, bind []byte) (msg, secret []byte, err error) {
	enc, sender, err := hpke.NewSender(key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), e.info(sealLabel(role), bind))
	if err != nil {
		return nil, nil, err
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddUint64(s.session)
	b.AddUint64(uint64(s.fromEpoch))
	b.AddUint64(uint64(s.toEpoch))
	b.AddUint64(uint64(s.clock))
	b.AddBytes(s.fresh)
	addBytes16(b, s.content)
	b.AddBytes(signer.Sign(e.signedBody(role, s, bind, enc)))
	plain, err := b.Bytes()
	if err != nil {
		return nil, nil, err
	}
	box, err := sender.Seal(nil, plain)
	if err != nil {
		return nil, nil, err
	}
	secret, err = sender.Export("p2ptun/v1/session", exportLen)
	if err != nil {
		return nil, nil, err
	}
	msg = slices.Concat([]byte{role}, enc, box)
	if len(msg) > MaxSealed {
		return nil, nil, errors.New("sealed message: content too long")
	}
	return msg, secret, nil
}

// open is the inverse of make: e.from is who the message says it is from.
func (e ends) open(role byte, key hpke.PrivateKey, msg, bind []byte) (*seal, []byte, error) {
	if len(msg) < 1+encSize || len(msg) > MaxSealed || msg[0] != role {
		return nil, nil, errSeal
	}
	enc := msg[1 : 1+encSize]
	r, err := hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), e.info(sealLabel(role), bind))
	if err != nil {
		return nil, nil, errSeal
	}
	plain, err := r.Open(nil, msg[1+encSize:])
	if err != nil {
		return nil, nil, errSeal
	}
	s, sig, ok := parseSeal(role, plain)
	if !ok {
		return nil, nil, errFormat
	}
	if !e.from.node.Verify(e.signedBody(role, s, bind, enc), sig) {
		return nil, nil, ErrSignature
	}
	secret, err := r.Export("p2ptun/v1/session", exportLen)
	return s, secret, err
}

func sealLabel(role byte) string {
	if role == sealOffer {
		return "offer"
	}
	return "answer"
}

func parseSeal(role byte, plain []byte) (s *seal, sig []byte, ok bool) {
	in := cryptobyte.String(plain)
	s = new(seal)
	var from, to, clock uint64
	ok = in.ReadUint64(&s.session) && in.ReadUint64(&from) && in.ReadUint64(&to) && in.ReadUint64(&clock)
	s.fromEpoch, s.toEpoch, s.clock = Epoch(from), Epoch(to), int64(clock)
	if role == sealOffer {
		ok = ok && in.ReadBytes(&s.fresh, config.SealingKeySize)
	}
	ok = ok && readBytes16(&in, &s.content) && in.ReadBytes(&sig, signatureSize) && in.Empty() && s.fromEpoch != 0
	return s, sig, ok
}

// secrets are what both sides of a session have from its offer and answer: a
// frame key per direction, and the preshared key of the tunnel.
type secrets struct {
	offerer, answerer []byte
	preshared         config.PresharedKey
}

// sessionKeys derives them from both exported secrets and the transcript. offer
// names the ends.
func sessionKeys(offer ends, offerMsg, answerMsg, offerSecret, answerSecret []byte) secrets {
	t := sha256.New()
	t.Write(offer.info("transcript", nil))
	t.Write(offer.from.wireGuard[:])
	t.Write(offer.to.wireGuard[:])
	for _, m := range [][]byte{offerMsg, answerMsg} {
		sum := sha256.Sum256(m)
		t.Write(sum[:])
	}
	ikm, salt := slices.Concat(offerSecret, answerSecret), t.Sum(nil)
	expand := func(label string) []byte {
		k, err := hkdf.Key(sha256.New, ikm, salt, "p2ptun/v1/"+label, 32)
		if err != nil {
			panic(err) // only a length out of range
		}
		return k
	}
	s := secrets{offerer: expand("frames/offerer"), answerer: expand("frames/answerer")}
	if err := s.preshared.SetSeed(expand("preshared")); err != nil {
		panic(err) // only a wrong length
	}
	return s
}
