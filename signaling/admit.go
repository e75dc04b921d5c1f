package signaling

import (
	"errors"
	"fmt"
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
	switch {
	case invite.Revoked:
		return nil, CodeRevoked, nil
	case len(invite.Admitted) >= invite.Uses:
		return nil, CodeUsed, nil
	case !now.Before(invite.Expires):
		return nil, CodeExpired, nil
	}
	rec, err := k.record(req, invite.Tags)
	if errors.Is(err, errFull) {
		return nil, CodeLimit, nil
	}
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
	case taken.nodes[req.Node], taken.wireGuard[req.WireGuard], taken.sealing[req.Sealing.Hash()]:
		return nil, errors.New("join request: its keys are another member's")
	case !ok || !free:
		return nil, errFull
	}
	return SignRecord(k.cfg.Network, Record{
		Node: req.Node, Sequence: 1, Name: name, IPv4: addr,
		WireGuard: req.WireGuard, Sealing: req.Sealing, Tags: tags,
	})
}

var errFull = errors.New("join request: the network is full")

// taken is what members have that a new one must not have.
type taken struct {
	names     map[string]bool
	addrs     map[netip.Addr]bool
	nodes     map[config.NodeKey]bool
	wireGuard map[config.WireGuardKey]bool
	sealing   map[[32]byte]bool // hashes
}

// taken collects from members, and from machines admitted but not yet
// published.
func (k *Keeper) taken() (*taken, error) {
	t := &taken{map[string]bool{}, map[netip.Addr]bool{}, map[config.NodeKey]bool{}, map[config.WireGuardKey]bool{}, map[[32]byte]bool{}}
	for _, r := range k.cfg.Roster.known {
		t.add(&r.Record)
	}
	for _, i := range k.invites {
		for _, a := range i.Admitted {
			if t.nodes[a.Node] {
				continue // its newest record counts
			}
			r, err := ParseRecord(k.cfg.Network.Public(), a.Record)
			if err != nil {
				return nil, err
			}
			t.add(&r.Record)
		}
	}
	return t, nil
}

func (t *taken) add(r *Record) {
	t.names[r.Name], t.addrs[r.IPv4], t.nodes[r.Node], t.wireGuard[r.WireGuard], t.sealing[r.Sealing.Hash()] = true, true, true, true, true
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
