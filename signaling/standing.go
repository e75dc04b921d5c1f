package signaling

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"

	"github.com/p2ptun/p2ptun/config"
)

// look works out what follows from the statements that are known. All of them
// are signed by an admin of now.
func (r *Roster) look() view {
	v := view{revoked: make(map[config.NodeKey]bool), records: make(map[config.NodeKey]*SignedRecord)}
	for _, s := range r.known {
		switch s.Kind {
		case StatementRevocation:
			// Delegates do not throw each other out.
			if s.Signer == Signer(r.network) || !r.admins[s.Node] {
				v.revoked[s.Node] = true
			}
		case StatementHubs:
			if v.hubs == nil || r.newer(s, v.hubs) {
				v.hubs = s
			}
		}
	}
	for _, s := range r.known {
		if s.Kind != StatementRecord || v.revoked[s.Node] {
			continue
		}
		if old := v.records[s.Node]; old == nil || r.counts(s, old.statement) {
			v.records[s.Node] = s.record
		}
	}
	v.members = r.standing(v.records)
	return v
}

// counts says whether record a of a node counts rather than b. What the
// network's key says of an admin no delegate can change.
func (r *Roster) counts(a, b *Statement) bool {
	if an, bn := r.byNetwork(a), r.byNetwork(b); r.admins[a.Node] && an != bn {
		return an
	}
	return r.newer(a, b)
}

// newer orders two statements on one thing by any signers.
func (r *Roster) newer(a, b *Statement) bool {
	if a.sequence() != b.sequence() {
		return a.sequence() > b.sequence()
	}
	if an, bn := r.byNetwork(a), r.byNetwork(b); an != bn {
		return an
	}
	return a.Supersedes(b)
}

func (r *Roster) byNetwork(s *Statement) bool { return s.Signer == Signer(r.network) }

// standing chooses the members: no two have the same name, address or key. Of
// two that clash the one stands that the network's key has signed; else that of
// the lower delegate's key; else the lower node key. The order is total, so all
// nodes choose the same.
func (r *Roster) standing(records map[config.NodeKey]*SignedRecord) map[config.NodeKey]*SignedRecord {
	ordered := slices.SortedFunc(maps.Values(records), func(a, b *SignedRecord) int {
		as, bs := a.statement, b.statement
		if an, bn := r.byNetwork(as), r.byNetwork(bs); an != bn {
			if an {
				return -1
			}
			return 1
		}
		if c := bytes.Compare(as.Signer[:], bs.Signer[:]); c != 0 {
			return c
		}
		return byNode(a, b)
	})
	members := make(map[config.NodeKey]*SignedRecord, len(ordered))
	used := newInUse()
	for _, rec := range ordered {
		if used.clash(&rec.Record) == clashNone {
			used.add(&rec.Record)
			members[rec.Node] = rec
		}
	}
	return members
}

// inUse is what members have and no other may have.
type inUse struct {
	names     map[string]bool
	addrs     map[netip.Addr]bool
	nodes     map[config.NodeKey]bool
	wireGuard map[config.WireGuardKey]bool
	sealing   map[[32]byte]bool // hashes
}

func newInUse() *inUse {
	return &inUse{map[string]bool{}, map[netip.Addr]bool{}, map[config.NodeKey]bool{}, map[config.WireGuardKey]bool{}, map[[32]byte]bool{}}
}

// inUse collects from these records. Addresses of revoked nodes are not given
// again: who has not heard of the revocation yet would take the new one for an
// impostor.
func (r *Roster) inUse(records map[config.NodeKey]*SignedRecord) *inUse {
	u := newInUse()
	for _, rec := range records {
		u.add(&rec.Record)
	}
	for _, s := range r.known {
		if s.record != nil && r.revoked[s.Node] {
			u.addrs[s.record.IPv4] = true
		}
	}
	return u
}

func (u *inUse) add(r *Record) {
	u.names[r.Name], u.addrs[r.IPv4], u.nodes[r.Node], u.wireGuard[r.WireGuard], u.sealing[r.Sealing.Hash()] = true, true, true, true, true
}

// clashKind is what a record has that another has too.
type clashKind int

const (
	clashNone    clashKind = iota
	clashAddress           // name or address: an admin can give another
	clashKey               // nothing mends that
)

func (u *inUse) clash(r *Record) clashKind {
	switch {
	case u.nodes[r.Node], u.wireGuard[r.WireGuard], u.sealing[r.Sealing.Hash()]:
		return clashKey
	case u.names[r.Name], u.addrs[r.IPv4]:
		return clashAddress
	}
	return clashNone
}

func byNode(a, b *SignedRecord) int { return compareKeys(a.Node, b.Node) }
