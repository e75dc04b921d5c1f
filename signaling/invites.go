package signaling

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// InviteOptions limit a new invite.
type InviteOptions struct {
	Uses          int           `json:"uses"`           // machines that may join; 0 means 1
	Expires       time.Duration `json:"expires"`        // from now, in JSON nanoseconds; 0 means 24 hours
	Tags          []string      `json:"tags"`           // that the machines get
	Replaces      string        `json:"replaces"`       // name of a member whose name and address the machine takes, and who is revoked then; "" for none
	MemberExpires time.Duration `json:"member_expires"` // how long the machines are members; 0 means for ever
}

const (
	defaultInviteLife = 24 * time.Hour
	maxInvites        = 500 // so that the tickets of all fit one frame
	maxInviteUses     = 10_000
	keepClosed        = 30 * 24 * time.Hour // after its end an invite is forgotten
	maxInviteLife     = 10 * 365 * 24 * time.Hour
)

// Invite makes an invite; it is durable when Invite returns.
func (k *Keeper) Invite(now time.Time, o InviteOptions) (config.Invite, error) {
	kept, err := k.invite(now, o)
	if err != nil {
		return config.Invite{}, err
	}
	if err := k.add(now, kept); err != nil {
		return config.Invite{}, err
	}
	sealing := k.cfg.Self.Sealing.Public()
	return config.Invite{
		Hub: k.cfg.Hub(), Network: k.cfg.Network, Secret: [config.SecretSize]byte(kept.Secret),
		Keeper: k.cfg.Self.Node.Public(), KeeperWG: k.cfg.Self.WireGuard, KeeperSeals: sealing.Hash(),
	}, nil
}

// add keeps one more, durably when it returns.
func (k *Keeper) add(now time.Time, kept *config.KeptInvite) error {
	k.prune(now)
	if len(k.invites) >= maxInvites {
		return config.WithHint(fmt.Errorf("invite: %d are open already", maxInvites), "`p2ptun invite list` shows them, `p2ptun invite revoke ID` ends one")
	}
	return k.save(append(slices.Clone(k.invites), kept))
}

// invite makes what is kept of an invite with these limits.
func (k *Keeper) invite(now time.Time, o InviteOptions) (*config.KeptInvite, error) {
	if o.Uses == 0 {
		o.Uses = 1
	}
	if o.Expires == 0 {
		o.Expires = defaultInviteLife
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	i := &config.KeptInvite{
		Secret: make([]byte, config.SecretSize), Created: now.UTC(), Expires: now.Add(o.Expires).UTC(),
		Uses: o.Uses, Tags: o.Tags, MemberExpires: o.MemberExpires,
	}
	rand.Read(i.Secret)
	if o.Replaces != "" {
		old, err := k.replaceable(o.Replaces)
		if err != nil {
			return nil, err
		}
		i.Replaces = old.Node
	}
	return i, nil
}

func (o *InviteOptions) check() error {
	switch {
	case o.Uses < 0 || o.Uses > maxInviteUses:
		return fmt.Errorf("invite: %d uses, want 1 to %d", o.Uses, maxInviteUses)
	case o.Expires < 0:
		return fmt.Errorf("invite: expires %v before it is made", -o.Expires)
	case o.MemberExpires < 0:
		return fmt.Errorf("invite: the membership ends %v before it begins", -o.MemberExpires)
	case o.Expires > maxInviteLife || o.MemberExpires > maxInviteLife:
		return fmt.Errorf("invite: at most %v; leave --member-expires out for a membership without end", maxInviteLife)
	case len(o.Tags) > maxTags:
		return fmt.Errorf("invite: %d tags, at most %d", len(o.Tags), maxTags)
	case o.Replaces != "" && o.Uses != 1:
		return fmt.Errorf("invite: one machine replaces another, not %d", o.Uses)
	}
	for _, t := range o.Tags {
		if err := checkLabel(t); err != nil {
			return fmt.Errorf("invite: tag %w", err)
		}
	}
	return nil
}

// replaceable finds the member that an invite's machine may take the place of.
func (k *Keeper) replaceable(name string) (*SignedRecord, error) {
	rec, ok := k.cfg.Roster.ByName(name)
	switch {
	case !ok:
		return nil, fmt.Errorf("invite: no member has the name %q", name)
	case rec.Node == k.cfg.Self.Node.Public():
		return nil, fmt.Errorf("invite: %q is this very machine", name)
	case k.cfg.Roster.IsAdmin(rec.Node) && !k.cfg.Admin.IsNetwork():
		return nil, fmt.Errorf("invite: %q is an admin: %w", name, ErrNetworkKey)
	}
	return rec, nil
}

// InviteInfo is an invite as its keeper lists it.
type InviteInfo struct {
	ID            string      `json:"id"`
	State         TicketState `json:"state"`
	Created       time.Time   `json:"created"`
	Expires       time.Time   `json:"expires"`
	Uses          int         `json:"uses"`
	Used          int         `json:"used"`
	Tags          []string    `json:"tags"`
	Replaces      string      `json:"replaces"`       // a name; "" for none
	From          string      `json:"from"`           // the admin that made it, "" for the keeper itself
	MemberExpires string      `json:"member_expires"` // a duration; "" for none
	Joined        []string    `json:"joined"`         // names
}

// List tells of the invites that are kept, the newest first.
func (k *Keeper) List(now time.Time) []InviteInfo {
	list := []InviteInfo{}
	for _, i := range k.invites {
		info := InviteInfo{
			ID: k.id(i), State: k.inviteState(i, now), Created: i.Created, Expires: i.Expires,
			Uses: i.Uses, Used: len(i.Admitted), Tags: append([]string{}, i.Tags...), Joined: []string{},
		}
		if i.MemberExpires > 0 {
			info.MemberExpires = i.MemberExpires.String()
		}
		if rec, ok := k.cfg.Roster.Record(i.Replaces); ok {
			info.Replaces = rec.Name
		}
		if rec, ok := k.cfg.Roster.Record(i.From); ok {
			info.From = rec.Name
		}
		for _, a := range i.Admitted {
			rec, ok := k.cfg.Roster.Record(a.Node)
			if !ok { // not published yet, or revoked since
				rec, _ = ParseRecord(k.cfg.Network, a.Record)
			}
			if rec != nil {
				info.Joined = append(info.Joined, rec.Name)
			}
		}
		list = append(list, info)
	}
	slices.SortStableFunc(list, func(a, b InviteInfo) int { return b.Created.Compare(a.Created) })
	return list
}

// RevokeInvite ends an invite; who has joined under it stays. It is durable
// when RevokeInvite returns.
func (k *Keeper) RevokeInvite(id string) error {
	for _, i := range k.invites {
		if k.id(i) != id {
			continue
		}
		updated := *i
		updated.Revoked = true
		return k.replace(i, &updated)
	}
	return config.WithHint(fmt.Errorf("this machine keeps no invite %q", id), "`p2ptun invite list` shows those it keeps; others are kept by the machine that made them")
}

// id is short, and tells nothing of the secret.
func (k *Keeper) id(i *config.KeptInvite) string {
	hash := k.keys(i).TicketHash()
	return config.ID(hash[:16]).String()[:8]
}

// prune forgets invites that ended long ago, and all that are closed when
// there are too many. The hub goes on telling why they are closed.
func (k *Keeper) prune(now time.Time) {
	full := len(k.invites) >= maxInvites
	k.invites = slices.DeleteFunc(slices.Clone(k.invites), func(i *config.KeptInvite) bool {
		return k.ticketState(i, now) != TicketOpen && (full || now.Sub(i.Expires) >= keepClosed)
	})
}
