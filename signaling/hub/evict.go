package hub

import (
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// evict ends what a revoked node has here: its connection, which hears why, its
// TURN credentials and its allocations. It does not keep the node from coming
// again: that is the handshake's, and a connection that was let in before the
// revocation was stored looks once more when it has its seat. It is safe for
// concurrent use.
func (h *Hub) evict(network config.NetworkKey, node config.NodeKey, why *signaling.Error) {
	// The connection first: what waits for it, credentials among it, is gone,
	// and it can ask for no more.
	h.bus.Publish(network, node, Event{Message: why})
	h.relay.end(identity{network, node})
}
