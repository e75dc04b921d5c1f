package signaling

import (
	"crypto/hmac"
	"crypto/rand"
	"errors"
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
	waiting map[config.NodeKey][]byte // acknowledgements to come
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
	maxInvites        = 1000 // open ones
	maxInviteUses     = 10_000
	keepClosed        = 30 * 24 * time.Hour // then a used or expired invite is forgotten
)

// NewKeeper returns the keeper of these invites, as its Save wrote them.
func NewKeeper(cfg KeeperConfig, invites []*config.KeptInvite) *Keeper {
	return &Keeper{cfg: cfg, invites: invites, waiting: make(map[config.NodeKey][]byte)}
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
		return config.Invite{}, fmt.Errorf("invite: %d are kept already", maxInvites)
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

// ticketState holds a used invite open until its machines are members, so that
// a retry after a crash gets through.
func (k *Keeper) ticketState(i *config.KeptInvite, now time.Time) TicketState {
	pending := slices.ContainsFunc(i.Admitted, func(a config.Admission) bool {
		_, member := k.cfg.Roster.Get(a.Node)
		return !member
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
// again.
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
		k.waiting[req.Node] = ack
	}
	return msg, req, nil
}

// admit finds or makes the record for a request under its invite.
func (k *Keeper) admit(now time.Time, invite *config.KeptInvite, req *JoinRequest) ([]byte, ErrorCode, error) {
	for _, a := range invite.Admitted {
		if a.Node == req.Node {
			return a.Record, "", k.sameKeys(a.Record, req)
		}
	}
	switch {
	case invite.Revoked:
		return nil, CodeRevoked, nil
	case len(invite.Admitted) >= invite.Uses:
		return nil, CodeUsed, nil
	case !now.Before(invite.Expires):
		return nil, CodeExpired, nil
	}
	rec, err := k.record(req, invite.Tags)
	if err != nil {
		return nil, "", err
	}
	updated := *invite
	updated.Admitted = append(slices.Clone(invite.Admitted), config.Admission{Node: req.Node, Record: rec.Bytes()})
	if err := k.replace(invite, &updated); err != nil {
		return nil, "", err
	}
	return rec.Bytes(), "", nil
}

func (k *Keeper) sameKeys(record []byte, req *JoinRequest) error {
	rec, err := ParseRecord(k.cfg.Network.Public(), record)
	if err == nil && (rec.WireGuard != req.WireGuard || rec.Sealing != req.Sealing) {
		err = errors.New("join request: other keys than the node was admitted with")
	}
	return err
}

// record signs a new member's record: its keys must be new, its name and
// address are made so.
func (k *Keeper) record(req *JoinRequest, tags []string) (*SignedRecord, error) {
	taken, err := k.taken()
	if err != nil {
		return nil, err
	}
	name, ok := freeName(req.Name, func(n string) bool { return taken.names[n] })
	addr, free := freeAddress(k.cfg.Prefix, func(a netip.Addr) bool { return taken.addrs[a] })
	switch {
	case taken.keys[req.Node], taken.wg[req.WireGuard]:
		return nil, errors.New("join request: its keys are another member's")
	case !ok || !free:
		return nil, errors.New("join request: the network is full")
	}
	return SignRecord(k.cfg.Network, Record{
		Node: req.Node, Sequence: 1, Name: name, IPv4: addr,
		WireGuard: req.WireGuard, Sealing: req.Sealing, Tags: tags,
	})
}

type taken struct {
	names map[string]bool
	addrs map[netip.Addr]bool
	keys  map[config.NodeKey]bool
	wg    map[config.WireGuardKey]bool
}

// taken collects what members have, and machines admitted but not yet
// published.
func (k *Keeper) taken() (*taken, error) {
	t := &taken{map[string]bool{}, map[netip.Addr]bool{}, map[config.NodeKey]bool{}, map[config.WireGuardKey]bool{}}
	add := func(raw []byte) error {
		r, err := ParseRecord(k.cfg.Network.Public(), raw)
		if err != nil {
			return err
		}
		t.names[r.Name], t.addrs[r.IPv4], t.keys[r.Node], t.wg[r.WireGuard] = true, true, true, true
		return nil
	}
	for _, raw := range k.cfg.Roster.All() {
		if err := add(raw); err != nil {
			return nil, err
		}
	}
	for _, i := range k.invites {
		for _, a := range i.Admitted {
			if err := add(a.Record); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// Ack takes an acknowledgement. It returns the record to publish now.
func (k *Keeper) Ack(from config.NodeKey, msg []byte) ([]byte, bool) {
	want, ok := k.waiting[from]
	if !ok || !hmac.Equal(want, msg) {
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

// prune forgets invites that have been closed for long.
func (k *Keeper) prune(now time.Time) {
	k.invites = slices.DeleteFunc(slices.Clone(k.invites), func(i *config.KeptInvite) bool {
		return k.ticketState(i, now) != TicketOpen && now.Sub(i.Expires) > keepClosed
	})
}

func freeName(want string, taken func(string) bool) (string, bool) {
	name := want
	for n := 2; taken(name); n++ {
		if n > 10_000 {
			return "", false
		}
		suffix := fmt.Sprintf("-%d", n)
		name = want[:min(len(want), 63-len(suffix))] + suffix
	}
	return name, true
}

// freeAddress is the lowest host address of the prefix that is free. The
// network and broadcast addresses are never given.
func freeAddress(p netip.Prefix, taken func(netip.Addr) bool) (netip.Addr, bool) {
	for a := p.Addr().Next(); p.Contains(a.Next()); a = a.Next() {
		if !taken(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}
