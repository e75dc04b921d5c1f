package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// Why a machine was not admitted. Errors that are one of them say more.
var (
	// ErrRefused is the keeper's own word, under its signature.
	ErrRefused = errors.New("not admitted")

	// ErrTurnedAway is the hub's word, before anything was asked of the keeper:
	// it may be a lie, but no harm has been done. What the hub says after the
	// request is neither: the keeper may have admitted the machine.
	ErrTurnedAway = errors.New("turned away by the hub")
)

type refusal struct {
	why  string
	kind error // ErrRefused, ErrTurnedAway or nil
}

func (r *refusal) Error() string        { return r.why }
func (r *refusal) Is(target error) bool { return target != nil && target == r.kind }

// askAgain is how often a joiner repeats its request while the keeper of its
// invite is away or silent.
const askAgain = 2 * time.Second

// refusals are the hub's or the keeper's words that no waiting mends.
var refusals = map[signaling.ErrorCode]string{
	signaling.CodeTicket:  "nobody keeps this invite: it was made for another hub, or its keeper has withdrawn it",
	signaling.CodeUsed:    "the invite has been used",
	signaling.CodeExpired: "the invite has expired",
	signaling.CodeRevoked: "the invite has been revoked",
}

// join asks the keeper of the invite for admission until it answers.
func (n *Node) join(ctx context.Context) error {
	again := time.NewTicker(askAgain)
	defer again.Stop()
	j := &joining{Node: n, again: again, joiner: signaling.NewJoiner(n.self, n.node.WireGuard, *n.node.Invite)}
	n.progress("joining network %s through the hub at %s", n.node.Network.ID(), n.node.Hub.URLs[0])
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case call := <-n.calls:
			call()
		case <-again.C:
			j.ask()
		case m := <-n.events:
			admitted, err := j.handle(m)
			if err != nil || admitted {
				return err
			}
		}
	}
}

// joining is the state of one admission.
type joining struct {
	*Node
	joiner *signaling.Joiner
	again  *time.Ticker            // asks, when the last request has had its time
	keeper *signaling.SignedRecord // known once the hub has delivered it
	told   bool                    // that the keeper is away
	asked  bool                    // the keeper may have heard of this machine
}

func (j *joining) handle(m signaling.Message) (admitted bool, err error) {
	switch m := m.(type) {
	case *signaling.Welcome:
		j.observe(m.Observed)
	case *signaling.Members:
		for _, raw := range m.Statements {
			rec, err := signaling.ParseRecord(j.node.Network, raw)
			if err == nil && rec.Node == j.node.Invite.Keeper {
				j.keeper = rec
			}
		}
		return false, j.ask()
	case *signaling.Join:
		return j.answer(m)
	case *signaling.Error:
		if m.Code == signaling.CodeOffline && !j.told {
			j.told = true
			j.progress("waiting for %s, who keeps this invite, to come online", j.keeperName())
			return false, nil
		}
		return false, j.refused(m.Code, j.hubsWord())
	case *signaling.Down:
		var e *signaling.Error
		if errors.As(m.Err, &e) {
			if err := j.refused(e.Code, j.hubsWord()); err != nil {
				return false, err
			}
		}
		j.hubDown(m.Err)
	}
	return false, nil
}

// ask sends the request, once the keeper's key is there.
func (j *joining) ask() error {
	if j.keeper == nil {
		return nil
	}
	j.again.Reset(askAgain)
	msg, err := j.joiner.Request(j.keeper.Sealing, j.node.Name)
	if err != nil {
		return err
	}
	j.asked = j.hub.Send(&signaling.Join{To: j.keeper.Node, Sealed: msg}) || j.asked
	j.hub.Send(&signaling.Join{To: j.keeper.Node, Sealed: signaling.JoinSignal(signaling.EpochNotice(j.self))})
	return nil
}

// hubsWord is what a refusal of the hub's amounts to.
func (j *joining) hubsWord() error {
	if j.asked {
		return nil
	}
	return ErrTurnedAway
}

// answer takes the keeper's answer: what it grants is on disk before the
// keeper hears that it has arrived.
func (j *joining) answer(m *signaling.Join) (bool, error) {
	a, err := j.joiner.Answer(m.Sealed)
	if err != nil {
		j.log.Debug("join answer dropped", "err", err) // of an earlier request, or forged
		return false, nil
	}
	if a.Refusal == signaling.CodeLimit {
		return false, &refusal{"the network is full", ErrRefused} // the hub's own limits pass, this one does not
	}
	if a.Refusal != "" {
		return false, j.refused(a.Refusal, ErrRefused)
	}
	j.roster.Merge(a.Statements...)
	j.roster.Merge(j.keeper.Bytes()) // who makes an offer now
	self := j.self.Node.Public()
	rec, ok := j.roster.Record(self)
	if !ok || rec.WireGuard != j.self.WireGuard || rec.Sealing != j.self.Sealing.Public() {
		return false, fmt.Errorf("the keeper's answer does not make a member of this machine")
	}
	if !a.Prefix.Contains(rec.IPv4) {
		return false, fmt.Errorf("the keeper gave the address %v outside of the network's %v", rec.IPv4, a.Prefix)
	}
	joined := *j.node
	joined.Name, joined.NetworkName, joined.Prefix = rec.Name, a.NetworkName, a.Prefix
	joined.Discovery, joined.Proof, joined.Invite = a.DiscoveryKey, j.roster.Proof(self), nil
	if err := j.cfg.Dir.SaveNode(&joined); err != nil {
		return false, err
	}
	*j.node = joined
	j.hub.Send(&signaling.Join{To: m.From, Sealed: j.joiner.Ack()})
	j.link.joined = time.Now()
	j.byJoin.Store(m.From, nil)
	j.progress("admitted to %s by %s as %s", a.NetworkName, j.keeperName(), rec.Name)
	return true, nil
}

// showRecord connects to the hub anew, as the member that the record makes of
// this machine, when the acknowledgement came to nothing: the keeper ended
// before it had published the record, and nobody else would.
func (n *Node) showRecord(now time.Time) {
	if !n.link.joined.IsZero() && now.Sub(n.link.joined) > askAgain {
		n.link.joined = time.Time{}
		n.hub.Moved(func(netip.Addr) bool { return false })
	}
}

func (j *joining) keeperName() string {
	if j.keeper == nil {
		return "the node"
	}
	return j.keeper.Name
}

// refused turns a code into an error, if it is a final one.
func (j *joining) refused(code signaling.ErrorCode, kind error) error {
	text, final := refusals[code]
	if !final {
		return nil
	}
	hint := "ask for a new one: `p2ptun invite` on an admin's machine prints it"
	if code == signaling.CodeTicket {
		hint = "if the hub or the keeper has just been started, try again in a moment; else " + hint
	}
	return config.WithHint(&refusal{text, kind}, hint)
}

// credential is what the next hello shows; the client asks on its goroutine.
func (n *Node) credential(ctx context.Context) signaling.Credential {
	var c signaling.Credential
	n.do(ctx, func() error {
		c = signaling.Credential{Proof: n.node.Proof, Access: n.node.Access, Since: n.sync.sequence}
		if i := n.node.Invite; i != nil {
			c.Ticket = signaling.NewInviteKeys(n.self.Network, i.Secret).Ticket()
		}
		return nil
	})
	return c
}
