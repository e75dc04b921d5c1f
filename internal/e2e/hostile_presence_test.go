package e2e

import (
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// forgesPresence: who is there is the node's own word. What the hub says of
// who went takes nothing away.
func (l *hostileLab) forgesPresence(t *testing.T) {
	a, b := l.seat(l.a), l.seat(l.b)
	before := l.counted(l.a, "presence")
	later, foreign, bare := b.online, b.online, b.online
	later.Epoch++
	foreign.Node = l.key(l.c).Public()
	bare.Signature = nil
	other := config.NewNodeKey()
	for range 20 {
		a.tell(&signaling.Presence{Online: []signaling.Online{
			later, foreign, bare, {Node: b.node}, {},
			// Honest in itself, of a node that is no member.
			{Node: other.Public(), Epoch: 9, Signature: signaling.SignPresence(other, l.network.Public().ID(), 9)},
		}})
		a.tell(&signaling.Presence{Offline: []config.NodeKey{b.node, a.node, {}, other.Public()}})
	}
	l.warned(t, l.a, "presence", before+5*20)
	a.tell(&signaling.Presence{Online: []signaling.Online{b.online}})
	l.until(t, seconds(5), "b is online again", func() bool {
		p, err := l.a.Peer(l.ctx, l.b)
		return err == nil && p.Online
	})
}
