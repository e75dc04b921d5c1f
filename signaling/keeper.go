package signaling

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// Keeper admits machines under the invites that this node made, by its own
// state and clock; the hub only carries what it says. It is not safe for
// concurrent use.
type Keeper struct {
	cfg     KeeperConfig
	invites []*config.KeptInvite
	waiting map[config.NodeKey]admitted // whose acknowledgement is to come
}

// admitted is the last answer that admitted a node.
type admitted struct {
	request [32]byte // hash
	answer  []byte
	ack     []byte
}

// KeeperConfig is what a Keeper needs; all fields are required.
type KeeperConfig struct {
	Self        *Self
	WireGuard   config.WireGuardPrivateKey
	Network     config.NetworkPrivateKey
	NetworkName string
	Prefix      netip.Prefix
	Discovery   [32]byte
	Hub         config.Hub
	Roster      *Roster                          // shared with the caller's goroutine
	Save        func([]*config.KeptInvite) error // durable when it returns
}

// InviteOptions limit a new invite.
type InviteOptions struct {
	Uses    int           // machines that may join; 0 means 1
	Expires time.Duration // from now; 0 means 24 hours
	Tags    []string      // that the machines get
}

const (
	defaultInviteLife = 24 * time.Hour
	maxInvites        = 500 // so that the tickets of all fit one frame
	maxInviteUses     = 10_000
	keepClosed        = 30 * 24 * time.Hour // after its end an invite is forgotten
)

// NewKeeper returns the keeper of these invites, as its Save wrote them.
func NewKeeper(cfg KeeperConfig, invites []*config.KeptInvite) *Keeper {
	return &Keeper{cfg: cfg, invites: invites, waiting: make(map[config.NodeKey]admitted)}
}

// Invite makes an invite; it is durable when Invite returns.
func (k *Keeper) Invite(now time.Time, o InviteOptions) (config.Invite, error) {
	if o.Uses == 0 {
		o.Uses = 1
	}
	if o.Expires == 0 {
		o.Expires = defaultInviteLife
	}
	k.prune(now)
	switch {
	case o.Uses < 0 || o.Uses > maxInviteUses:
		return config.Invite{}, fmt.Errorf("invite: %d uses, want 1 to %d", o.Uses, maxInviteUses)
	case o.Expires < 0:
		return config.Invite{}, fmt.Errorf("invite: expires %v before it is made", -o.Expires)
	case len(k.invites) >= maxInvites:
		return config.Invite{}, fmt.Errorf("invite: %d are open already", maxInvites)
	case len(o.Tags) > maxTags:
		return config.Invite{}, fmt.Errorf("invite: %d tags, at most %d", len(o.Tags), maxTags)
	}
	for _, t := range o.Tags {
		if err := checkLabel(t); err != nil {
			return config.Invite{}, fmt.Errorf("invite: tag %w", err)
		}
	}
	i := k.token()
	rand.Read(i.Secret[:])
	kept := &config.KeptInvite{Secret: i.Secret[:], Created: now.UTC(), Expires: now.Add(o.Expires).UTC(), Uses: o.Uses, Tags: o.Tags}
	if err := k.save(append(k.invites, kept)); err != nil {
		return config.Invite{}, err
	}
	return i, nil
}

func (k *Keeper) token() config.Invite {
	sealing := k.cfg.Self.Sealing.Public()
	return config.Invite{
		Hub: k.cfg.Hub, Network: k.cfg.Network.Public(), Keeper: k.cfg.Self.Node.Public(),
		KeeperWG: k.cfg.Self.WireGuard, KeeperSeals: sealing.Hash(),
	}
}

// Tickets is what the hub has to know of the invites.
func (k *Keeper) Tickets(now time.Time) []Ticket {
	tickets := make([]Ticket, 0, len(k.invites))
	for _, i := range k.invites {
		hash := k.keys(i).TicketHash()
		tickets = append(tickets, Ticket{Hash: hash[:], State: k.ticketState(i, now)})
	}
	return tickets
}

// ticketState holds a used or expired invite open until its machines are
// known as members, so that a retry after a crash gets through; but not for
// ever, as a machine may never come back.
func (k *Keeper) ticketState(i *config.KeptInvite, now time.Time) TicketState {
	pending := now.Sub(i.Expires) < keepClosed && slices.ContainsFunc(i.Admitted, func(a config.Admission) bool {
		return !k.cfg.Roster.knows(a.Node)
	})
	switch {
	case i.Revoked:
		return TicketRevoked
	case pending:
		return TicketOpen
	case len(i.Admitted) >= i.Uses:
		return TicketUsed
	case !now.Before(i.Expires):
		return TicketExpired
	}
	return TicketOpen
}

// Answer opens a join request and answers it. A request without the proofs
// gets an error and no answer. Who was admitted before gets the same record
// again, and to the same request the same answer.
func (k *Keeper) Answer(now time.Time, request []byte) ([]byte, *JoinRequest, error) {
	var invite *config.KeptInvite
	req, err := OpenJoinRequest(k.cfg.Self, k.cfg.WireGuard, request, func(ticket [32]byte) (InviteKeys, bool) {
		for _, i := range k.invites {
			if keys := k.keys(i); keys.TicketHash() == ticket {
				invite = i
				return keys, true
			}
		}
		return InviteKeys{}, false
	})
	if err != nil {
		return nil, nil, err
	}
	hash := sha256.Sum256(request)
	if w, ok := k.waiting[req.Node]; ok && w.request == hash {
		return w.answer, req, nil
	}
	answer := &JoinAnswer{
		NetworkName: k.cfg.NetworkName, Prefix: k.cfg.Prefix, DiscoveryKey: k.cfg.Discovery,
		Hub: k.cfg.Hub, Members: k.cfg.Roster.Digest(),
	}
	answer.Record, answer.Refusal, err = k.admit(now, invite, req)
	if err != nil {
		return nil, nil, err
	}
	msg, ack, err := SealJoinAnswer(k.cfg.Self, req, request, answer)
	if err != nil {
		return nil, nil, err
	}
	if answer.Refusal == "" {
		k.waiting[req.Node] = admitted{request: hash, answer: msg, ack: ack}
	}
	return msg, req, nil
}

// Ack takes an acknowledgement. It returns the record to publish now.
func (k *Keeper) Ack(from config.NodeKey, msg []byte) ([]byte, bool) {
	w, ok := k.waiting[from]
	if !ok || !hmac.Equal(w.ack, msg) {
		return nil, false
	}
	delete(k.waiting, from)
	for _, i := range k.invites {
		for _, a := range i.Admitted {
			if a.Node == from {
				return a.Record, true
			}
		}
	}
	return nil, false
}

func (k *Keeper) keys(i *config.KeptInvite) InviteKeys {
	return NewInviteKeys(k.cfg.Self.Network, [config.SecretSize]byte(i.Secret))
}

func (k *Keeper) replace(old, updated *config.KeptInvite) error {
	invites := slices.Clone(k.invites)
	invites[slices.Index(invites, old)] = updated
	return k.save(invites)
}

// save makes the new state durable, then current.
func (k *Keeper) save(invites []*config.KeptInvite) error {
	if err := k.cfg.Save(invites); err != nil {
		return fmt.Errorf("invites: %w", err)
	}
	k.invites = invites
	return nil
}

// prune forgets invites that ended long ago, and all that are closed when
// there are too many. The hub goes on telling why they are closed.
func (k *Keeper) prune(now time.Time) {
	full := len(k.invites) >= maxInvites
	k.invites = slices.DeleteFunc(slices.Clone(k.invites), func(i *config.KeptInvite) bool {
		return k.ticketState(i, now) != TicketOpen && (full || now.Sub(i.Expires) >= keepClosed)
	})
}
