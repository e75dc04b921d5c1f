package signaling

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// admit finds or makes the record for a request under its invite.
func (k *Keeper) admit(now time.Time, invite *config.KeptInvite, req *JoinRequest) ([]byte, ErrorCode, error) {
	for _, a := range invite.Admitted {
		if a.Node == req.Node {
			return a.Record, "", k.sameKeys(a.Record, req)
		}
	}
	switch k.inviteState(invite, now) {
	case TicketRevoked:
		return nil, CodeRevoked, nil
	case TicketUsed:
		return nil, CodeUsed, nil
	case TicketExpired:
		return nil, CodeExpired, nil
	}
	admission, err := k.admission(now, invite, req)
	if errors.Is(err, errFull) {
		return nil, CodeLimit, nil
	}
	if err != nil {
		return nil, "", err
	}
	updated := *invite
	updated.Admitted = append(slices.Clone(invite.Admitted), *admission)
	if err := k.replace(invite, &updated); err != nil {
		return nil, "", err
	}
	return admission.Record, "", nil
}

func (k *Keeper) sameKeys(record []byte, req *JoinRequest) error {
	rec, err := ParseRecord(k.cfg.Network, record)
	if err == nil && (rec.WireGuard != req.WireGuard || rec.Sealing != req.Sealing) {
		err = errors.New("join request: other keys than the node was admitted with")
	}
	return err
}

// published is what everybody is to hear of an admission. Who is replaced goes
// first, as two cannot have one name.
func published(a config.Admission) [][]byte {
	if a.Revocation == nil {
		return [][]byte{a.Record}
	}
	return [][]byte{a.Revocation, a.Record}
}

// admission signs what makes a member of the machine.
func (k *Keeper) admission(now time.Time, invite *config.KeptInvite, req *JoinRequest) (*config.Admission, error) {
	r := Record{Node: req.Node, Sequence: 1, Name: req.Name, WireGuard: req.WireGuard, Sealing: req.Sealing, Tags: invite.Tags}
	if invite.MemberExpires > 0 {
		r.Expires = now.Add(invite.MemberExpires)
	}
	a := &config.Admission{Node: req.Node}
	used, err := k.inUse(k.cfg.Roster.records)
	if err != nil {
		return nil, err
	}
	if used.clash(&r) == clashKey || k.cfg.Roster.IsRevoked(req.Node) {
		return nil, errors.New("join request: its keys are another member's, or were revoked")
	}
	if old, ok := k.replaced(invite); ok {
		revocation, err := k.cfg.Admin.Revoke(old.Node)
		if err != nil {
			return nil, err
		}
		a.Revocation, r.Name, r.IPv4 = revocation.Bytes(), old.Name, old.IPv4
	} else if !used.place(&r, k.cfg.Prefix) {
		return nil, errFull
	}
	rec, err := k.cfg.Admin.Record(r)
	if err != nil {
		return nil, err
	}
	a.Record = rec.Bytes()
	return a, nil
}

// replaced is the record of the member whose place the invite's machine takes.
// There is none any more where somebody has revoked it since, or it has become an
// admin, whom a delegate cannot revoke: then the machine is new like any other.
func (k *Keeper) replaced(invite *config.KeptInvite) (*SignedRecord, bool) {
	rec, ok := k.cfg.Roster.Record(invite.Replaces)
	return rec, ok && (k.cfg.Admin.IsNetwork() || !k.cfg.Roster.IsAdmin(rec.Node))
}

var errFull = errors.New("join request: the network is full")

// inUse is the roster's, and what machines have that are admitted but not yet
// published.
func (k *Keeper) inUse(records map[config.NodeKey]*SignedRecord) (*inUse, error) {
	u := k.cfg.Roster.inUse(records)
	for _, i := range k.invites {
		for _, a := range i.Admitted {
			if k.cfg.Roster.knows(a.Node) {
				continue // its newest record counts
			}
			r, err := ParseRecord(k.cfg.Network, a.Record)
			if err != nil {
				return nil, err
			}
			u.add(&r.Record)
		}
	}
	return u, nil
}

// place gives the record a name like the one it wants and an address of the
// prefix that nobody has, its own if it has one, and says whether there are any.
func (u *inUse) place(r *Record, prefix netip.Prefix) bool {
	name, ok := freeName(r.Name, func(n string) bool { return u.names[n] })
	addr, free := r.IPv4, r.IPv4.IsValid() && !u.addrs[r.IPv4]
	if !free {
		addr, free = freeAddress(prefix, func(a netip.Addr) bool { return u.addrs[a] })
	}
	r.Name, r.IPv4 = name, addr
	return ok && free
}

// Owed returns the revocations of machines that were replaced, where the one
// that replaces is known already: it has shown its record itself, because this
// keeper ended before it could publish both.
func (k *Keeper) Owed() [][]byte {
	var owed [][]byte
	for _, i := range k.invites {
		for _, a := range i.Admitted {
			if a.Revocation != nil && k.cfg.Roster.knows(a.Node) && !k.cfg.Roster.Has(sha256.Sum256(a.Revocation)) {
				owed = append(owed, a.Revocation)
			}
		}
	}
	return owed
}

// Mend signs anew those records of this admin's that lost to another admin's,
// under a name and an address that are free. It returns what to publish. Who has
// a key of another member stays lost.
func (k *Keeper) Mend() ([][]byte, error) {
	r := k.cfg.Roster
	if len(r.records) == len(r.members) {
		return nil, nil
	}
	used, err := k.inUse(r.members)
	if err != nil {
		return nil, err
	}
	var mended [][]byte
	for _, rec := range slices.SortedFunc(maps.Values(r.records), byNode) {
		if r.members[rec.Node] != nil || !k.cfg.Admin.Signed(rec.statement) {
			continue
		}
		again := rec.Record
		again.Sequence, err = r.next(k.cfg.Admin, rec.statement)
		if err != nil || used.clash(&again) != clashAddress || !used.place(&again, k.cfg.Prefix) {
			continue
		}
		signed, err := k.cfg.Admin.Record(again)
		if err != nil {
			return nil, err
		}
		used.add(&again)
		mended = append(mended, signed.Bytes())
	}
	return mended, nil
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
