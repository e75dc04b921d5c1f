package tunnel

import (
	"context"
	"errors"
	"time"

	"github.com/p2ptun/p2ptun/signaling"
)

// appealFor is how long a machine that was thrown out waits for the hub.
const appealFor = 10 * time.Second

// appeal hears, at the start of a machine that a delegate has thrown out,
// whether that counts still: nothing does that a delegate did who was thrown
// out since, and only the hub can say so to one that members do not talk to.
func (n *Node) appeal(ctx context.Context) error {
	if self := n.self.Node.Public(); !n.roster.IsRevoked(self) || n.roster.IsBarred(self) {
		return nil
	}
	enough := time.NewTimer(appealFor)
	defer enough.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-enough.C:
			return errRevoked
		case call := <-n.calls:
			call()
		case m := <-n.events:
			if over, err := n.heard(m); over {
				return err
			}
		}
	}
}

// heard takes a frame of the hub during an appeal. It is over when the machine
// is a member again, and lost when the hub has no more to say.
func (n *Node) heard(m signaling.Message) (over bool, err error) {
	switch m := m.(type) {
	case *signaling.Down:
		n.hubDown(m.Err)
		return errors.As(m.Err, new(*signaling.Error)), errRevoked
	case *signaling.Welcome:
		n.handle(m)
	case *signaling.Members:
		n.handle(m)
		if !n.roster.IsRevoked(n.self.Node.Public()) {
			return true, nil
		}
		return !m.More && n.sync.whole == nil, errRevoked
	}
	return false, nil
}
