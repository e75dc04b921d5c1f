package peer

import (
	"log/slog"
	"sync/atomic"

	"github.com/p2ptun/p2ptun/signaling"
)

// Drops counts what the underlay threw away, since it was made.
type Drops struct {
	Junk       uint64 // packets that are neither STUN nor ChannelData of a server
	Filtered   uint64 // packets and candidates of addresses that Allow or the rules refuse
	Unknown    uint64 // checks for no session, responses to no request of ours
	Mismatched uint64 // responses from another address than asked, or with a wrong password
	Overflow   uint64 // packets that found a full queue, or a peer with too many addresses
	Unsent     uint64 // packets that the socket or a relay did not take
	Messages   uint64 // sealed messages that did not open or made no sense
	Stale      uint64 // sealed messages of an earlier session or run, or seen before
}

type drops struct {
	junk, filtered, unknown, mismatched, overflow, unsent, messages, stale atomic.Uint64
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
		Stale:      d.stale.Load(),
	}
}

// message counts a sealed message that is not taken. The first is told, as a sign that
// somebody tries; stale ones are usual, as messages go several ways.
func (d *drops) message(log *slog.Logger, err error) {
	if signaling.IsStale(err) {
		d.stale.Add(1)
	} else if d.messages.Add(1) == 1 {
		log.Warn("sealed message refused; more of these are only counted", "err", err)
		return
	}
	log.Debug("sealed message refused", "err", err)
}
