package first

import (
	"fmt"
	"time"

	"github.com/p2ptun/p2ptun/tunnel"
)

type peerStatus = tunnel.PeerStatus

// statusFor is how long a state may take that is waited for.
const statusFor = 30 * time.Second

// await asks a node how it stands with another until that is as it should be.
func (s *scene) await(n, other *actor, good func(*peerStatus) bool) error {
	var last *peerStatus
	for end := time.Now().Add(statusFor); time.Now().Before(end); {
		p, err := n.Look(s.ctx, other.Node)
		if err == nil {
			if last = p; good(p) {
				return nil
			}
		}
		if s.ctx.Err() != nil {
			break
		}
		time.Sleep(2 * time.Millisecond) // a question each, so the answer is as old at most
	}
	return fmt.Errorf("%s says of %s: %+v", n.Name, other.Name, last)
}
