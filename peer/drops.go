package peer

import "sync/atomic"

// Drops counts what the underlay threw away, since it was made.
type Drops struct {
	Junk       uint64 // packets that are neither STUN nor ChannelData of a server
	Filtered   uint64 // packets and candidates of addresses that Allow or the rules refuse
	Unknown    uint64 // checks for no session, responses to no request of ours
	Mismatched uint64 // responses from another address than asked, or with a wrong password
	Overflow   uint64 // packets that found a full queue, or a peer with too many addresses
	Unsent     uint64 // packets that the socket or a relay did not take
	Messages   uint64 // sealed messages that did not open or made no sense
}

type drops struct {
	junk, filtered, unknown, mismatched, overflow, unsent, messages atomic.Uint64
}

func (d *drops) snapshot() Drops {
	return Drops{
		Junk:       d.junk.Load(),
		Filtered:   d.filtered.Load(),
		Unknown:    d.unknown.Load(),
		Mismatched: d.mismatched.Load(),
		Overflow:   d.overflow.Load(),
		Unsent:     d.unsent.Load(),
		Messages:   d.messages.Load(),
	}
}
