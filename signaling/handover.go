package signaling

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// Handover is an invite that one admin makes and another keeps. It goes from the
// one to the other inside a sealed session.
type Handover struct {
	Secret  []byte        `json:"secret"`
	Options InviteOptions `json:"options"`
}

// NewHandover draws the secret of an invite. It fails for options that no
// keeper would take.
func NewHandover(o InviteOptions) (*Handover, error) {
	if o.Uses == 0 {
		o.Uses = 1
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	h := &Handover{Secret: make([]byte, config.SecretSize), Options: o}
	rand.Read(h.Secret)
	return h, nil
}

// Format hides the secret from every verb of package fmt.
func (h Handover) Format(f fmt.State, _ rune) { fmt.Fprint(f, "invite handed over") }

// Invite is the invite, once the machine of that record keeps it.
func (h *Handover) Invite(network config.NetworkKey, hub config.Hub, keeper *Record) config.Invite {
	return config.Invite{
		Hub: hub, Network: network, Secret: [config.SecretSize]byte(h.Secret),
		Keeper: keeper.Node, KeeperWG: keeper.WireGuard, KeeperSeals: keeper.Sealing.Hash(),
	}
}

// Take keeps an invite that another admin made; it is durable when Take
// returns. The same one again changes nothing. It ends when its maker is no
// admin any more, as all that one has signed does.
//
// A machine that holds the network's key takes none: what it signs outlasts the
// maker.
func (k *Keeper) Take(now time.Time, from config.NodeKey, h *Handover) error {
	if len(h.Secret) != config.SecretSize {
		return errFormat
	}
	keys := NewInviteKeys(k.cfg.Self.Network, [config.SecretSize]byte(h.Secret))
	for _, i := range k.invites {
		switch {
		case k.keys(i).TicketHash() != keys.TicketHash():
		case i.From == from:
			return nil
		default:
			return errors.New("invite: its secret is another invite's")
		}
	}
	if k.cfg.Admin.IsNetwork() {
		return config.WithHint(errors.New("invite: a machine that holds the network's key keeps no invites of others"), "choose another with --keeper, or leave it out")
	}
	kept, err := k.invite(now, h.Options)
	if err != nil {
		return err
	}
	kept.Secret, kept.From = h.Secret, from
	return k.add(now, kept)
}

// revoked says whether an invite was, or its maker, or whether whom it replaces
// has become an admin since.
func (k *Keeper) revoked(i *config.KeptInvite) bool {
	r := k.cfg.Roster
	return i.Revoked || !i.From.IsZero() && (!r.IsAdmin(i.From) || r.IsAdmin(i.Replaces))
}
