package signaling

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/p2ptun/p2ptun/config"
	"golang.org/x/crypto/cryptobyte"
)

// Epoch names one run of a node: what was sealed to an earlier one starts
// nothing. It grows with each start, so that nobody can bring back an earlier
// one by repeating what the node said then. Zero is "not known".
type Epoch uint64

// NewEpoch is the epoch of a start: boot counts the node's starts and never goes
// back, the rest is random.
func NewEpoch(boot uint32) Epoch {
	var b [4]byte
	rand.Read(b[:])
	return Epoch(boot)<<32 | Epoch(binary.BigEndian.Uint32(b[:]))
}

// HelloHeader is the header of the WebSocket's request in which a node may say its
// hello at once, where TLS is with the hub itself: the frame as it is, with the
// EarlyNonce for the hub's. A hub that does not look for it sends a Challenge, as
// it does to a node that leaves it out. That saves a round trip of four.
const (
	HelloHeader = "P2ptun-Hello"

	// maxEarlyHello bounds the frame, in bytes: hubs that do not know the header
	// take no more of all headers than 8 KiB.
	maxEarlyHello = 6 << 10
)

// A Handshake is what both ends of one connection to a hub have seen. All
// proofs of the handshake cover it, so none can be carried to another hub,
// connection or network.
type Handshake struct {
	HubNonce  []byte // NonceSize bytes
	NodeNonce []byte // NonceSize bytes
	Hub       config.HubKey
	Network   config.NetworkKey
	Node      config.NodeKey
	// TLSExporter is the hub's TLS session, see Exporter, so that nobody who
	// ends TLS in between gets anywhere. It is empty where the hub ends none:
	// it serves plain HTTP, perhaps behind a proxy that does.
	TLSExporter []byte
}

func (h *Handshake) bytes() []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddBytes(h.HubNonce)
	b.AddBytes(h.NodeNonce)
	b.AddBytes(h.Hub[:])
	b.AddBytes(h.Node[:])
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(h.TLSExporter) })
	return b.BytesOrPanic()
}

// SignHello is the node's proof that the connection is its own.
func (h *Handshake) SignHello(key config.NodePrivateKey) []byte {
	return key.Sign(toSign(kindHello, h.Network.ID(), h.bytes()))
}

// VerifyHello checks what SignHello made.
func (h *Handshake) VerifyHello(sig []byte) bool {
	return h.complete() && h.Node.Verify(toSign(kindHello, h.Network.ID(), h.bytes()), sig)
}

// SignWelcome is the hub's proof of its identity.
func (h *Handshake) SignWelcome(key config.HubPrivateKey) []byte {
	return key.Sign(toSign(kindWelcome, h.Network.ID(), h.bytes()))
}

// VerifyWelcome checks what SignWelcome made.
func (h *Handshake) VerifyWelcome(sig []byte) bool {
	return h.complete() && h.Hub.Verify(toSign(kindWelcome, h.Network.ID(), h.bytes()), sig)
}

// AccessProof shows that the node has the hub's access key without sending it.
func (h *Handshake) AccessProof(access []byte) []byte {
	mac := hmac.New(sha256.New, access)
	mac.Write(toSign("access", h.Network.ID(), h.bytes()))
	return mac.Sum(nil)
}

func (h *Handshake) complete() bool {
	return len(h.HubNonce) == NonceSize && len(h.NodeNonce) == NonceSize
}

func presenceBody(e Epoch) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddUint64(uint64(e))
	return b.BytesOrPanic()
}

// SignPresence is the node's word for its epoch.
func SignPresence(key config.NodePrivateKey, network config.ID, e Epoch) []byte {
	return key.Sign(toSign(kindPresence, network, presenceBody(e)))
}

// Verify checks the signature over the epoch.
func (o *Online) Verify(network config.ID) bool {
	return o.Epoch != 0 && o.Node.Verify(toSign(kindPresence, network, presenceBody(o.Epoch)), o.Signature)
}

// Digest covers a set of records whatever their order, from their hashes,
// which it sorts.
func Digest(hashes [][32]byte) []byte {
	slices.SortFunc(hashes, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for _, x := range hashes {
		h.Write(x[:])
	}
	return h.Sum(nil)
}
