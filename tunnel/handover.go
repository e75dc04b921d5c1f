package tunnel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// An admin may have another one keep an invite that it makes: one that is
// always on. Secret and limits go there inside the sealed session, and the
// invite is good when that machine has it on its disk:
//
//	maker ── 5 ‖ JSON of a signaling.Handover ──► keeper, which fsyncs it
//	      ◄── 6 ‖ JSON of a handoverAnswer ──────
//
// The first is repeated until the answer comes; the same again does no harm.

// handover waits, on the maker's side, for the keeper's answer.
type handover struct {
	*signaling.Handover
	keeper config.NodeKey
	invite config.Invite
	answer chan handoverAnswer // holds the first
}

// handoverAnswer says for which secret, and what is wrong, or nothing.
type handoverAnswer struct {
	Ticket []byte `json:"ticket"` // hash
	Error  string `json:"error,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

const (
	handoverEvery = 500 * time.Millisecond
	handoverLimit = 10 * time.Second
)

// InviteKeptBy makes an invite that another admin keeps, by name or ID; it is
// durable there when InviteKeptBy returns. It is safe for concurrent use while
// the node runs.
func (n *Node) InviteKeptBy(ctx context.Context, keeper string, o signaling.InviteOptions) (token string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, handoverLimit, config.WithHint(fmt.Errorf("%s has not taken the invite over within %v", keeper, handoverLimit),
		"`p2ptun status` shows whether it is connected; without --keeper this machine keeps the invite"))
	defer cancel()
	var h *handover
	err = n.do(ctx, func() (err error) {
		h, err = n.offer(keeper, o)
		return err
	})
	if err != nil {
		return "", err
	}
	if h.keeper == n.self.Node.Public() {
		return n.Invite(ctx, o)
	}
	defer n.do(context.WithoutCancel(ctx), func() error { delete(n.offers, h); return nil })
	again := time.NewTicker(handoverEvery)
	defer again.Stop()
	for {
		select {
		case a := <-h.answer:
			if a.Error != "" {
				return "", config.WithHint(fmt.Errorf("%s does not take the invite over: %s", keeper, signaling.Printable(a.Error)), signaling.Printable(a.Hint))
			}
			return h.invite.Token(), nil
		case <-again.C:
			if err := n.do(ctx, func() error { n.tellOffer(h); return nil }); err != nil && ctx.Err() == nil {
				return "", err
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// offer begins to hand an invite over.
func (n *Node) offer(keeper string, o signaling.InviteOptions) (*handover, error) {
	if n.admin().IsZero() {
		return nil, errNotAdmin
	}
	rec, err := n.find(keeper)
	if err != nil {
		return nil, err
	}
	h := &handover{keeper: rec.Node, answer: make(chan handoverAnswer, 1)}
	m := n.members[rec.Node]
	switch {
	case rec.Node == n.self.Node.Public():
		return h, nil
	case !n.roster.IsAdmin(rec.Node):
		return nil, config.WithHint(fmt.Errorf("%s is no admin, so it can keep no invite", rec.Name),
			fmt.Sprintf("`p2ptun network delegate %s` makes it one", rec.Name))
	case m == nil || !m.online || !n.link.up:
		return nil, config.WithHint(fmt.Errorf("%s cannot be reached now, and it has to take the invite over", rec.Name),
			"try again when `p2ptun nodes` shows it online; without --keeper this machine keeps the invite")
	}
	if h.Handover, err = signaling.NewHandover(o); err != nil {
		return nil, err
	}
	h.invite = h.Handover.Invite(n.node.Network, n.node.Hub, &rec.Record)
	n.offers[h] = true
	if m.active == nil {
		n.want(m)
	}
	n.tellOffer(h)
	return h, nil
}

// tellOffer tells the keeper, if it is there still.
func (n *Node) tellOffer(h *handover) {
	if m := n.active[h.keeper]; m != nil {
		m.tell(jsonNote(noteKeep, h.Handover))
	}
}

// takeOver keeps an invite for another admin.
func (n *Node) takeOver(m *active, note []byte) bool {
	h := new(signaling.Handover)
	if json.Unmarshal(note, h) != nil || len(h.Secret) != config.SecretSize {
		return false
	}
	if !n.roster.IsAdmin(m.record.Node) {
		n.refused("invite handed over", errors.New(m.record.Name+" is no admin"))
		return true
	}
	err := errNotAdmin
	if n.keeper != nil {
		err = n.keeper.Take(n.now(), m.record.Node, h)
	}
	a := handoverAnswer{Ticket: ticketHash(n.self.Network, h.Secret)}
	if err != nil {
		a.Error, a.Hint = err.Error(), config.HintOf(err)
	} else {
		n.log.Info("keeps an invite", "made by", m.record.Name)
		n.sendTickets()
	}
	m.tell(jsonNote(noteKept, a))
	return true
}

// handedOver takes the keeper's answer.
func (n *Node) handedOver(m *active, note []byte) bool {
	var a handoverAnswer
	if json.Unmarshal(note, &a) != nil {
		return false
	}
	for h := range n.offers {
		if h.keeper == m.record.Node && string(a.Ticket) == string(ticketHash(n.self.Network, h.Secret)) {
			select {
			case h.answer <- a:
			default: // it has one
			}
		}
	}
	return true
}

func ticketHash(network config.ID, secret []byte) []byte {
	hash := signaling.NewInviteKeys(network, [config.SecretSize]byte(secret)).TicketHash()
	return hash[:]
}

// jsonNote cannot fail: the types hold nothing that JSON lacks.
func jsonNote(kind byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append([]byte{kind}, b...)
}
