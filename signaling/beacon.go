package signaling

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/crypto/chacha20poly1305"
)

// BeaconSize is the length of every beacon in bytes.
const BeaconSize = chacha20poly1305.NonceSizeX + beaconBody + signatureSize + chacha20poly1305.Overhead

// beaconBody is version to port, see Beacon.
const beaconBody = 1 + 1 + 16 + 8 + 4 + 16 + 2

const (
	beaconVersion = 1
	beaconAsk     = 1
)

// Beacon is what a node says of itself on a LAN, for the members of its network
// that hear it. All beacons are of one length, and say nothing to others:
//
//	nonce (24) ‖ XChaCha20-Poly1305(version 1 (1) ‖ flags (1) ‖ node ID (16)
//	‖ epoch (8) ‖ count (4) ‖ IP address (16, IPv4 mapped) ‖ port (2) ‖ signature (64))
//
// under a key from the network's discovery key. Former members have that as well:
// so the node signs what it says. Epoch and count grow, so that what is repeated
// counts once.
type Beacon struct {
	Node  config.ID
	Ask   bool // whoever hears it shall say where it is
	Epoch Epoch
	Count uint32 // of the node's beacons in its run
	Addr  netip.AddrPort
}

// BeaconKey is what the beacons of a network are sealed with.
type BeaconKey [chacha20poly1305.KeySize]byte

// NewBeaconKey derives it.
func NewBeaconKey(network config.ID, discovery [32]byte) (k BeaconKey) {
	b, err := hkdf.Key(sha256.New, discovery[:], network[:], "p2ptun/v1/beacon", len(k))
	if err != nil {
		panic(err) // only a length out of range
	}
	copy(k[:], b)
	return k
}

// Seal returns the beacon, signed by self.
func (b *Beacon) Seal(key BeaconKey, self *Self) []byte {
	body := make([]byte, beaconBody, BeaconSize)
	body[0] = beaconVersion
	if b.Ask {
		body[1] = beaconAsk
	}
	copy(body[2:], b.Node[:])
	binary.BigEndian.PutUint64(body[18:], uint64(b.Epoch))
	binary.BigEndian.PutUint32(body[26:], b.Count)
	ip := b.Addr.Addr().As16()
	copy(body[30:], ip[:])
	binary.BigEndian.PutUint16(body[46:], b.Addr.Port())
	plain := append(body, self.Node.Sign(toSign(kindBeacon, self.Network, body))...)
	box := make([]byte, chacha20poly1305.NonceSizeX, BeaconSize)
	rand.Read(box)
	return key.aead().Seal(box, box, plain, nil)
}

var errBeacon = errors.New("beacon: of another network, or altered")

// OpenBeacon opens what may be a beacon of the network. The signature is the
// caller's to check: Verify.
func OpenBeacon(key BeaconKey, msg []byte) (*SignedBeacon, error) {
	if len(msg) != BeaconSize {
		return nil, errBeacon
	}
	nonce, box := msg[:chacha20poly1305.NonceSizeX], msg[chacha20poly1305.NonceSizeX:]
	plain, err := key.aead().Open(nil, nonce, box, nil)
	if err != nil {
		return nil, errBeacon
	}
	body, sig := plain[:beaconBody], plain[beaconBody:]
	if body[0] != beaconVersion {
		return nil, errVersion
	}
	addr := netip.AddrFrom16([16]byte(body[30:])).Unmap()
	s := &SignedBeacon{
		Beacon: Beacon{
			Node: config.ID(body[2:18]), Ask: body[1]&beaconAsk != 0,
			Epoch: Epoch(binary.BigEndian.Uint64(body[18:])), Count: binary.BigEndian.Uint32(body[26:]),
			Addr: netip.AddrPortFrom(addr, binary.BigEndian.Uint16(body[46:])),
		},
		body: body, signature: sig,
	}
	if s.Epoch == 0 || s.Addr.Port() == 0 || !addr.IsValid() {
		return nil, errFormat
	}
	return s, nil
}

// SignedBeacon is a beacon that somebody with the discovery key has made.
type SignedBeacon struct {
	Beacon
	body, signature []byte
}

// Verify says whether the node says so itself.
func (s *SignedBeacon) Verify(network config.ID, node config.NodeKey) bool {
	return node.ID() == s.Node && node.Verify(toSign(kindBeacon, network, s.body), s.signature)
}

func (k BeaconKey) aead() cipher.AEAD {
	a, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		panic(err) // only a wrong length
	}
	return a
}
