package signaling

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// Roster is the set of a network's members as this node believes it: records
// that an admin signed, one per node, no two with the same name, address or
// key. It is not safe for concurrent use.
type Roster struct {
	network config.NetworkKey
	records map[config.NodeKey]*SignedRecord
}

// ErrOutdated says that a record is not newer than the one already held.
var ErrOutdated = errors.New("member record: a newer one is known")

// NewRoster returns an empty roster of the network.
func NewRoster(network config.NetworkKey) *Roster {
	return &Roster{network: network, records: make(map[config.NodeKey]*SignedRecord)}
}

// Add takes a signed record. It returns ErrSignature, ErrOutdated (also for
// the very record that is held), or what makes the record clash with another
// member's; a member that loses such a clash to the new record is returned.
func (r *Roster) Add(raw []byte) (added *SignedRecord, lost []*SignedRecord, err error) {
	rec, err := ParseRecord(r.network, raw)
	if err != nil {
		return nil, nil, err
	}
	if old, ok := r.records[rec.Node]; ok && !newer(rec, old) {
		return nil, nil, ErrOutdated
	}
	for _, other := range r.records {
		if other.Node == rec.Node || !clash(&rec.Record, &other.Record) {
			continue
		}
		if !wins(&rec.Record, &other.Record) {
			return nil, nil, fmt.Errorf("member record: %q clashes with member %q", rec.Name, other.Name)
		}
		lost = append(lost, other)
	}
	for _, l := range lost {
		delete(r.records, l.Node)
	}
	r.records[rec.Node] = rec
	return rec, lost, nil
}

// newer orders two records of one node: the higher sequence wins, then the
// lower hash, so that all nodes agree.
func newer(a, b *SignedRecord) bool {
	if a.Sequence != b.Sequence {
		return a.Sequence > b.Sequence
	}
	ha, hb := a.Hash(), b.Hash()
	return slices.Compare(ha[:], hb[:]) < 0
}

func clash(a, b *Record) bool {
	return a.Name == b.Name || a.IPv4 == b.IPv4 || a.WireGuard == b.WireGuard || a.Sealing == b.Sealing
}

// wins orders two records of different nodes that clash: the one that
// replaces the other, then the lower node key.
func wins(a, b *Record) bool {
	switch {
	case a.Replaces == b.Node:
		return true
	case b.Replaces == a.Node:
		return false
	}
	return compareKeys(a.Node, b.Node) < 0
}

// Get returns a node's record.
func (r *Roster) Get(node config.NodeKey) (*SignedRecord, bool) {
	rec, ok := r.records[node]
	return rec, ok
}

// ByName returns the member of that name.
func (r *Roster) ByName(name string) (*SignedRecord, bool) {
	for _, rec := range r.records {
		if rec.Name == name {
			return rec, true
		}
	}
	return nil, false
}

// Live returns the records that have not expired, ordered by name.
func (r *Roster) Live(now time.Time) []*SignedRecord {
	var live []*SignedRecord
	for _, rec := range r.records {
		if rec.Live(now) {
			live = append(live, rec)
		}
	}
	slices.SortFunc(live, func(a, b *SignedRecord) int { return strings.Compare(a.Name, b.Name) })
	return live
}

// All returns the signed bytes of every record.
func (r *Roster) All() [][]byte {
	all := make([][]byte, 0, len(r.records))
	for _, rec := range r.records {
		all = append(all, rec.raw)
	}
	return all
}

// Digest covers all records, see the function Digest.
func (r *Roster) Digest() []byte {
	hashes := make([][32]byte, 0, len(r.records))
	for _, rec := range r.records {
		hashes = append(hashes, rec.Hash())
	}
	return Digest(hashes)
}
