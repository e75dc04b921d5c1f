package hub

import (
	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// evict ends what the hub does for a node, and tells it why.
func (h *Hub) evict(network config.NetworkKey, node config.NodeKey, why *signaling.Error) {
	h.bus.Publish(network, node, Event{Message: why})
}
