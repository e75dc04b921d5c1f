package signaling

import (
	"encoding/binary"
	"slices"

	"github.com/p2ptun/p2ptun/config"
)

// A joiner is no member yet, and sends nothing but join messages. What it seals
// with its keeper meanwhile, so that the two are connected when it is one, travels
// as such: 4 ‖ the sealed message. First the joiner shows its epoch, so that the
// keeper can make an offer.
//
//	joiner ── request, 4 ‖ epoch ───────────────► keeper
//	joiner ◄─ answer, 4 ‖ offer ───────────────── keeper
//	joiner ── ack, 4 ‖ answer, 4 ‖ frames ──────► keeper
const joinSignal = 4

// JoinSignal makes a join message of a sealed one.
func JoinSignal(sealed []byte) []byte { return slices.Concat([]byte{joinSignal}, sealed) }

// SplitJoinSignal returns the sealed message, and false for another join message.
func SplitJoinSignal(msg []byte) (sealed []byte, ok bool) {
	if len(msg) < 2 || msg[0] != joinSignal {
		return nil, false
	}
	return msg[1:], true
}

// EpochNotice is a node's signed word for its epoch, as a sealed message.
func EpochNotice(self *Self) []byte {
	msg := binary.BigEndian.AppendUint64([]byte{sealEpoch}, uint64(self.Epoch))
	return append(msg, SignPresence(self.Node, self.Network, self.Epoch)...)
}

// OpenEpochNotice returns the epoch of a notice by that node, and false for what is
// none.
func OpenEpochNotice(network config.ID, node config.NodeKey, msg []byte) (Epoch, bool) {
	if len(msg) != 1+8+signatureSize || msg[0] != sealEpoch {
		return 0, false
	}
	o := Online{Node: node, Epoch: Epoch(binary.BigEndian.Uint64(msg[1:])), Signature: msg[9:]}
	return o.Epoch, o.Verify(network)
}
