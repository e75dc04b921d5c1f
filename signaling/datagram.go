package signaling

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"slices"

	"github.com/p2ptun/p2ptun/config"
)

// A sealed message between two members also travels as UDP datagrams on the
// nodes' own ports, cut into fragments:
//
//	0                1         5             13           15          16         32
//	┌────────────────┬─────────┬─────────────┬────────────┬───────────┬──────────┬──────┐
//	│ 0xC0 (to 0xFF) │ tag (4) │ message (8) │ length (2) │ index (1) │ MAC (16) │ part │
//	└────────────────┴─────────┴─────────────┴────────────┴───────────┴──────────┴──────┘
//
// The tag says which member sends to which; message is the beginning of the
// sealed message's SHA-256, so that what is sent again, or by several ways, is the
// same; length is the sealed message's. Each part is as long as fits, but for the
// last, which may be longer than what is left: the rest is padding, and counts for
// nothing but the answer's size, see Cut.
//
// Tag and MAC come from the X25519 secret of both WireGuard keys, so any two
// members have them, and nothing is stored. They keep strangers from costing more
// than a look at the tag. What the message says is guarded by its seal alone.
const (
	// DatagramFirst is the first byte of the datagrams that are sent. Those up
	// to 0xFF are taken for the same.
	DatagramFirst = 0xC0

	// MaxDatagram is the longest, in bytes above UDP: it passes every path of
	// 1,280 bytes (RFC 8200 section 5), over a relay, too.
	MaxDatagram = 1200

	datagramHeader = 1 + 4 + 8 + 2 + 1 + datagramMAC
	datagramMAC    = 16
	maxPart        = MaxDatagram - datagramHeader
)

// MessageID is the beginning of a sealed message's SHA-256.
type MessageID [8]byte

// DatagramID returns the ID that a sealed message has in its datagrams.
func DatagramID(sealed []byte) MessageID {
	sum := sha256.Sum256(sealed)
	return MessageID(sum[:])
}

// Tag names a sender and a receiver in datagrams. Two pairs of members may have
// the same by chance: the MAC decides.
type Tag uint32

// DatagramKeys are what a node's datagrams with one other are marked with. They
// are a value without a state, safe for concurrent use.
type DatagramKeys struct{ out, in direction }

// direction is what one side sends with. The MAC is HMAC-SHA256 (RFC 2104), cut to
// 16 bytes.
type direction struct {
	tag Tag
	key [32]byte
}

// NewDatagramKeys derives the keys with a member. It costs an X25519, some 50 µs,
// and fails for a WireGuard key of small order.
func NewDatagramKeys(self *Self, private config.WireGuardPrivateKey, remote *Record) (*DatagramKeys, error) {
	shared, err := private.Shared(remote.WireGuard)
	if err != nil {
		return nil, err
	}
	secret, err := hkdf.Extract(sha256.New, shared, self.Network[:])
	if err != nil {
		return nil, err
	}
	derive := func(from, to config.NodeKey) (d direction) {
		info := slices.Concat([]byte("p2ptun/v1/datagram\x00"), from[:], to[:])
		b, err := hkdf.Expand(sha256.New, secret, string(info), 4+len(d.key))
		if err != nil {
			panic(err) // only a length out of range
		}
		d.tag = Tag(binary.BigEndian.Uint32(b))
		copy(d.key[:], b[4:])
		return d
	}
	own := self.Node.Public()
	return &DatagramKeys{out: derive(own, remote.Node), in: derive(remote.Node, own)}, nil
}

// In is the tag of what the other sends to this node.
func (k *DatagramKeys) In() Tag { return k.in.tag }

// Cut returns the datagrams of a sealed message. The last one of an offer is
// filled up: an answer has 1,216 bytes less to say, so that it is no longer than
// its offer where it lists some ten candidates more. Who answers sends no more
// than came to an address that has not proved to be the other's.
func (k *DatagramKeys) Cut(sealed []byte) [][]byte {
	if len(sealed) == 0 || len(sealed) > MaxSealed {
		return nil
	}
	id, pad := DatagramID(sealed), IsOffer(sealed)
	var all [][]byte
	for part := range slices.Chunk(sealed, maxPart) {
		size := len(part)
		if pad {
			size = maxPart
		}
		b := make([]byte, datagramHeader+size)
		b[0] = DatagramFirst
		binary.BigEndian.PutUint32(b[1:], uint32(k.out.tag))
		copy(b[5:], id[:])
		binary.BigEndian.PutUint16(b[13:], uint16(len(sealed)))
		b[15] = byte(len(all))
		copy(b[datagramHeader:], part)
		mac := k.out.mac(b)
		copy(b[datagramHeader-datagramMAC:], mac[:])
		all = append(all, b)
	}
	return all
}

// Fragment is what one datagram carries.
type Fragment struct {
	Message MessageID
	Length  int // of the whole sealed message, bytes
	Index   int
	Part    []byte // without padding; of the datagram's bytes
}

// DatagramTag returns the tag of a datagram, and false for what cannot be one.
func DatagramTag(b []byte) (Tag, bool) {
	if len(b) <= datagramHeader || len(b) > MaxDatagram || b[0] < DatagramFirst {
		return 0, false
	}
	return Tag(binary.BigEndian.Uint32(b[1:])), true
}

// Open checks that the other has made a datagram for this node, and returns what
// it carries. It allocates nothing. The datagram may have been repeated, and
// come from anywhere.
func (k *DatagramKeys) Open(b []byte) (f Fragment, ok bool) {
	if tag, ok := DatagramTag(b); !ok || tag != k.in.tag {
		return f, false
	}
	want := k.in.mac(b)
	if subtle.ConstantTimeCompare(want[:], b[datagramHeader-datagramMAC:datagramHeader]) != 1 {
		return f, false
	}
	f = Fragment{Message: MessageID(b[5:13]), Length: int(binary.BigEndian.Uint16(b[13:])), Index: int(b[15])}
	size := min(f.Length-f.Index*maxPart, maxPart)
	if f.Length > MaxSealed || size <= 0 || len(b)-datagramHeader < size {
		return f, false
	}
	f.Part = b[datagramHeader:][:size]
	return f, true
}

// Fragments is how many there are of the message.
func (f *Fragment) Fragments() int { return (f.Length + maxPart - 1) / maxPart }

// mac is the one of a datagram, over all of it but the MAC. It is HMAC written out,
// for crypto/hmac allocates.
func (d *direction) mac(b []byte) (mac [datagramMAC]byte) {
	const block = sha256.BlockSize
	var inner [block + MaxDatagram - datagramMAC]byte
	var outer [block + sha256.Size]byte
	copy(inner[:], d.key[:])
	copy(outer[:], d.key[:])
	for i := range block {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	n := block + copy(inner[block:], b[:datagramHeader-datagramMAC])
	n += copy(inner[n:], b[datagramHeader:])
	sum := sha256.Sum256(inner[:n])
	copy(outer[block:], sum[:])
	sum = sha256.Sum256(outer[:])
	copy(mac[:], sum[:])
	return mac
}
