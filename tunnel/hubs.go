package tunnel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

const (
	// hubHandover is how long a node stays at the old hub when the network
	// gets another: the others have to hear of it there.
	hubHandover = 2 * time.Second

	tryHub   = 15 * time.Second // for a hub that is to be the network's
	tryAgain = 10 * time.Second
)

// Hubs lists the network's hubs. It is safe for concurrent use while the node
// runs.
func (n *Node) Hubs(ctx context.Context) (hubs []config.Hub, err error) {
	err = n.do(ctx, func() error {
		hubs = []config.Hub{n.node.Hub}
		if l := n.roster.Hubs(); l != nil {
			hubs = l.Hubs
		}
		return nil
	})
	return hubs, err
}

// SetHub makes the network use another hub, or the same one under another
// address or identity. The new one is tried first: the network is made known to
// it. Only an admin can. It is safe for concurrent use while the node runs.
func (n *Node) SetHub(ctx context.Context, link config.HubLink) error {
	var admin signaling.Admin
	var proof [][]byte
	err := n.do(ctx, func() error {
		admin, proof = n.admin(), n.node.Proof
		if admin.IsZero() {
			return errNotAdmin
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := n.tryHub(ctx, link, proof); err != nil {
		return config.WithHint(fmt.Errorf("the network stays at its hub, as the new one does not serve it: %w", err),
			"check that it runs and can be reached from here, and that the link is its own (`p2ptun hub link`)")
	}
	return n.do(ctx, func() error {
		raw, err := n.roster.SetHubs(admin, []config.Hub{link.Hub})
		if err != nil {
			return err
		}
		updated := *n.node
		updated.Access = link.Access[:]
		if err := n.cfg.Dir.SaveNode(&updated); err != nil {
			return err
		}
		*n.node = updated
		return n.issue([][]byte{raw})
	})
}

// tryHub connects to a hub once, as a member that may create its network there.
func (n *Node) tryHub(ctx context.Context, link config.HubLink, proof [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, tryHub)
	defer cancel()
	heard := make(chan error, 1)
	client := signaling.NewClient(signaling.ClientConfig{
		Hub: link.Hub, Network: n.node.Network, Self: n.self, Log: n.log, Dial: n.dialHub,
		Credential: func() signaling.Credential { return signaling.Credential{Proof: proof, Access: link.Access[:]} },
		Handle: func(m signaling.Message) {
			var err error
			switch m := m.(type) {
			case *signaling.Welcome:
			case *signaling.Down:
				err = m.Err
			default:
				return
			}
			select {
			case heard <- err:
			default: // the first counts
			}
			cancel()
		},
	})
	_ = client.Run(ctx) // its context has ended
	select {
	case err := <-heard:
		return err
	default:
		return errors.New("it does not answer")
	}
}

// followHub goes to the hub that the network's list names, once that has shown
// that it serves this machine: a mistake cuts nobody off.
func (n *Node) followHub(now time.Time) {
	l := n.roster.Hubs()
	if l == nil || l.Hubs[0].Equal(n.node.Hub) || n.trying || now.Before(n.tryAt) {
		return
	}
	n.trying = true
	hub, proof, ctx := l.Hubs[0], n.node.Proof, n.tunnel.ctx
	n.tunnel.tasks.Go(func() error {
		err := n.tryHub(ctx, config.HubLink{Hub: hub}, proof)
		n.do(ctx, func() error { n.tried(hub, err); return nil })
		return nil
	})
}

// tried moves to a hub that serves.
func (n *Node) tried(hub config.Hub, err error) {
	n.trying, n.tryAt = false, time.Now().Add(tryAgain)
	if err != nil {
		n.log.Warn("the network's new hub does not serve yet", "url", hub.URLs[0], "err", err)
		return
	}
	n.node.Hub = hub
	if err := n.cfg.Dir.SaveNode(n.node); err != nil {
		n.log.Error("node not saved", "err", err)
	}
	n.progress("the network has moved to the hub at %s", hub.URLs[0])
	n.hub.SetHub(hub)
}
