package hub

import (
	"log/slog"
	"sync/atomic"
)

// drops counts what the hub threw away without a word.
type drops struct {
	signals   atomic.Uint64 // a slow reader's oldest sealed messages
	refused   atomic.Uint64 // connections beyond a source's limit
	strangers atomic.Uint64 // STUN replies beyond a source's limit
	toHub     atomic.Uint64 // relayed packets for an address of the hub itself
	forbidden atomic.Uint64 // relayed packets for a form of address never relayed to
	queue     atomic.Uint64 // packets for a relay whose reader is behind
	fromHub   atomic.Uint64 // packets to a relay that claim the hub's own address
}

func (d *drops) log(log *slog.Logger) {
	log.Info("dropped in all",
		"signals", d.signals.Load(), "connections", d.refused.Load(), "stun", d.strangers.Load(),
		"relay_to_hub", d.toHub.Load(), "relay_forbidden", d.forbidden.Load(),
		"relay_queue", d.queue.Load(), "relay_from_hub", d.fromHub.Load())
}
