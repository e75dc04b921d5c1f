package tunnel

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// Surroundings is what `netcheck` asks a node: whom to test with, and what the node
// knows already.
type Surroundings struct {
	Hub    config.Hub       `json:"hub"`
	Error  string           `json:"error,omitempty"` // why the node is not connected to it
	STUN   []netip.AddrPort `json:"stun"`            // of the hub, its relays first; none before it has told
	Relays []RelayStatus    `json:"relays"`
	NAT    NATStatus        `json:"nat"`
	Port   uint16           `json:"port"` // UDP

	// Credentials is until when those for the hub's relays are good; null: there
	// are none.
	Credentials *time.Time `json:"credentials"`
}

// Surroundings reports whom this machine's network can be tested with. It is safe for
// concurrent use while the node runs.
func (n *Node) Surroundings(ctx context.Context) (*Surroundings, error) {
	var s *Surroundings
	err := n.do(ctx, func() error {
		st := n.status(time.Now())
		s = &Surroundings{
			Hub: n.node.Hub, Error: st.Hub.Error, STUN: slices.Clone(n.hubSTUN),
			Relays: st.Self.Relays, NAT: st.Self.NAT, Port: st.Self.Port,
		}
		if !n.lent.IsZero() {
			end := n.lent.UTC()
			s.Credentials = &end
		}
		return nil
	})
	return s, err
}
