package signaling

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// Keeper admits machines under the invites that this node keeps, by its own
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
	Network     config.NetworkKey
	Admin       Admin // whose signature admits
	NetworkName string
	Prefix      netip.Prefix
	Discovery   [32]byte
	Hub         func() config.Hub                // for new invites
	Roster      *Roster                          // shared with the caller's goroutine
	Save        func([]*config.KeptInvite) error // durable when it returns
}

// NewKeeper returns the keeper of these invites, as its Save wrote them.
func NewKeeper(cfg KeeperConfig, invites []*config.KeptInvite) *Keeper {
	return &Keeper{cfg: cfg, invites: invites, waiting: make(map[config.NodeKey]admitted)}
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
	if pending && !k.revoked(i) {
		return TicketOpen
	}
	return k.inviteState(i, now)
}

// inviteState says whether another machine may join.
func (k *Keeper) inviteState(i *config.KeptInvite, now time.Time) TicketState {
	switch {
	case k.revoked(i):
		return TicketRevoked
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
	answer := &JoinAnswer{NetworkName: k.cfg.NetworkName, Prefix: k.cfg.Prefix, DiscoveryKey: k.cfg.Discovery}
	var record []byte
	record, answer.Refusal, err = k.admit(now, invite, req)
	if err != nil {
		return nil, nil, err
	}
	answer.Statements = k.statements(record)
	msg, ack, err := SealJoinAnswer(k.cfg.Self, req, request, answer)
	if err != nil {
		return nil, nil, err
	}
	if answer.Refusal == "" {
		k.waiting[req.Node] = admitted{request: hash, answer: msg, ack: ack}
	}
	return msg, req, nil
}

// statements is what a new member has to know from its keeper, who is nobody
// it could ask for proof: the rest it hears from anyone.
func (k *Keeper) statements(record []byte) [][]byte {
	var all [][]byte
	signers := map[Signer]bool{Signer(k.cfg.Network): true}
	add := func(s *Statement) {
		if s == nil {
			return
		}
		if d := k.cfg.Roster.delegation(config.NodeKey(s.Signer)); d != nil && !signers[s.Signer] {
			all = append(all, d.raw)
			signers[s.Signer] = true
		}
		all = append(all, s.raw)
	}
	add(k.cfg.Roster.hubs)
	if s, err := ParseStatement(k.cfg.Network, record); err == nil {
		add(s)
	}
	return all
}

// Ack takes an acknowledgement. It returns the statements to publish now.
func (k *Keeper) Ack(from config.NodeKey, msg []byte) ([][]byte, bool) {
	w, ok := k.waiting[from]
	if !ok || !hmac.Equal(w.ack, msg) {
		return nil, false
	}
	delete(k.waiting, from)
	for _, i := range k.invites {
		for _, a := range i.Admitted {
			if a.Node == from {
				return published(a), true
			}
		}
	}
	return nil, false
}

// Record is that of a machine admitted under an invite that is kept, or nil.
func (k *Keeper) Record(node config.NodeKey) *SignedRecord {
	for _, i := range k.invites {
		for _, a := range i.Admitted {
			if a.Node != node {
				continue
			}
			if rec, err := ParseRecord(k.cfg.Network, a.Record); err == nil {
				return rec
			}
		}
	}
	return nil
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
