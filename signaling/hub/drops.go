package hub

import (
	"log/slog"
	"sync/atomic"
)

// drops counts what the hub threw away or refused. Nothing is logged for each:
// whoever sends it could fill the disk.
type drops struct {
	sockets     atomic.Uint64 // connections beyond a source's limit, unread
	crowded     atomic.Uint64 // connections that waited longest when too many did
	refused     atomic.Uint64 // WebSockets beyond a source's limit
	handshakes  atomic.Uint64 // hellos that were not taken
	signals     atomic.Uint64 // a slow reader's oldest sealed messages
	copied      atomic.Uint64 // connections of a machine whose state was copied
	strangers   atomic.Uint64 // STUN replies beyond a source's limit
	permissions atomic.Uint64 // relay permissions for an address that is no member's
	tooMany     atomic.Uint64 // relay permissions and channels beyond an allocation's limit
	toHub       atomic.Uint64 // relayed packets for an address of the hub itself
	forbidden   atomic.Uint64 // relayed packets for a form of address never relayed to
	overRate    atomic.Uint64 // relayed packets beyond a member's rate
	queue       atomic.Uint64 // packets for a relay whose reader is behind
	fromHub     atomic.Uint64 // packets to a relay that claim the hub's own address
	channels    atomic.Uint64 // ChannelData on no channel, or broken
	unasked     atomic.Uint64 // packets to a relay whose client has permitted none from there
	unsent      atomic.Uint64 // relayed packets that the system did not take
	unread      atomic.Uint64 // packets that came to the relay faster than it took them
	unstored    atomic.Uint64 // frames of statements or tickets that the disk did not take

	said [19]uint64 // what report has said of each; owned by its caller
}

type drop struct {
	what string
	n    *atomic.Uint64
}

func (d *drops) all() [19]drop {
	return [...]drop{
		{"sockets", &d.sockets}, {"crowded", &d.crowded}, {"connections", &d.refused},
		{"handshakes", &d.handshakes}, {"signals", &d.signals}, {"copied", &d.copied},
		{"stun", &d.strangers}, {"relay_permissions", &d.permissions}, {"relay_limit", &d.tooMany},
		{"relay_to_hub", &d.toHub}, {"relay_forbidden", &d.forbidden}, {"relay_rate", &d.overRate},
		{"relay_queue", &d.queue}, {"relay_from_hub", &d.fromHub},
		{"relay_channels", &d.channels}, {"relay_unasked", &d.unasked}, {"relay_unsent", &d.unsent}, {"relay_unread", &d.unread},
		{"unstored", &d.unstored},
	}
}

// report says what has at least doubled since it was last said: an attack is
// in the log within a minute, and seldom again.
func (d *drops) report(log *slog.Logger) {
	for i, drop := range d.all() {
		if n := drop.n.Load(); n > 0 && n >= 2*d.said[i] {
			log.Info("dropped so far", "what", drop.what, "count", n)
			d.said[i] = n
		}
	}
}

// log says all that is not zero, at the end.
func (d *drops) log(log *slog.Logger) {
	var args []any
	for _, drop := range d.all() {
		if n := drop.n.Load(); n > 0 {
			args = append(args, drop.what, n)
		}
	}
	log.Info("dropped in all", args...)
}
