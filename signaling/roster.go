package signaling

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// Roster is what this node believes of a network's members. It keeps the
// newest record that an admin signed for each node. Those of them that stand
// are the members: no two have the same name, address or key. Both follow from
// the set of records alone, in whatever order they came, so that all nodes
// agree and a digest covers the same records everywhere, the hub included.
//
// A Roster is not safe for concurrent use.
type Roster struct {
	network config.NetworkKey
	known   map[config.NodeKey]*SignedRecord // newest of each node
	members map[config.NodeKey]*SignedRecord // of those, the ones that stand
}

// ErrOutdated says that a record is not newer than the one already known.
var ErrOutdated = errors.New("member record: a newer one is known")

// NewRoster returns an empty roster of the network.
func NewRoster(network config.NetworkKey) *Roster {
	return &Roster{
		network: network,
		known:   make(map[config.NodeKey]*SignedRecord),
		members: make(map[config.NodeKey]*SignedRecord),
	}
}

// Change is what one record did to the members, ordered by node key.
type Change struct {
	Added   []*SignedRecord // members now, by the new record or because another made way
	Removed []*SignedRecord // members no more, or by an older record
	Clash   error           // why the record itself does not stand, or nil
}

// Merge takes a signed record. It returns ErrSignature, or ErrOutdated also
// for the very record that is known. A record that clashes and loses is kept,
// and is no error: it comes to stand if what it lost to goes.
func (r *Roster) Merge(raw []byte) (Change, error) {
	rec, err := ParseRecord(r.network, raw)
	if err != nil {
		return Change{}, err
	}
	old := r.known[rec.Node]
	if old != nil && !Newer(rec, old) {
		return Change{}, ErrOutdated
	}
	r.known[rec.Node] = rec
	if r.contested(rec) || old != nil && r.contested(old) {
		return r.settle(rec), nil
	}
	r.members[rec.Node] = rec
	c := Change{Added: []*SignedRecord{rec}}
	if old != nil {
		c.Removed = []*SignedRecord{old}
	}
	return c, nil
}

// Has says whether the roster holds this very record.
func (r *Roster) Has(raw []byte) bool {
	rec, err := ParseRecord(r.network, raw)
	if err != nil {
		return false
	}
	known := r.known[rec.Node]
	return known != nil && slices.Equal(known.raw, raw)
}

func (r *Roster) contested(rec *SignedRecord) bool {
	for _, other := range r.known {
		if other.Node != rec.Node && clash(&rec.Record, &other.Record) {
			return true
		}
	}
	return false
}

// settle finds the members anew, after rec was added to a set with clashes.
func (r *Roster) settle(rec *SignedRecord) Change {
	var c Change
	before := r.members
	r.members = standing(r.known)
	for node, m := range r.members {
		if before[node] != m {
			c.Added = append(c.Added, m)
		}
		if r.members[rec.Node] == nil && clash(&rec.Record, &m.Record) {
			c.Clash = fmt.Errorf("member record: %q clashes with member %q", rec.Name, m.Name)
		}
	}
	for node, m := range before {
		if r.members[node] != m {
			c.Removed = append(c.Removed, m)
		}
	}
	slices.SortFunc(c.Added, byNode)
	slices.SortFunc(c.Removed, byNode)
	return c
}

// knows says whether there is a record of the node, be it one that lost.
func (r *Roster) knows(node config.NodeKey) bool { return r.known[node] != nil }

// Get returns a member's record.
func (r *Roster) Get(node config.NodeKey) (*SignedRecord, bool) {
	rec, ok := r.members[node]
	return rec, ok
}

// ByName returns the member of that name.
func (r *Roster) ByName(name string) (*SignedRecord, bool) {
	for _, rec := range r.members {
		if rec.Name == name {
			return rec, true
		}
	}
	return nil, false
}

// Live returns the members' records that have not expired, ordered by name.
func (r *Roster) Live(now time.Time) []*SignedRecord {
	var live []*SignedRecord
	for _, rec := range r.members {
		if rec.Live(now) {
			live = append(live, rec)
		}
	}
	slices.SortFunc(live, func(a, b *SignedRecord) int { return strings.Compare(a.Name, b.Name) })
	return live
}

// All returns the signed bytes of every known record, of those that do not
// stand as well, ordered by node key.
func (r *Roster) All() [][]byte {
	all := make([][]byte, 0, len(r.known))
	for _, rec := range slices.SortedFunc(maps.Values(r.known), byNode) {
		all = append(all, rec.raw)
	}
	return all
}

// Digest covers what All returns, see the function Digest.
func (r *Roster) Digest() []byte {
	hashes := make([][32]byte, 0, len(r.known))
	for _, rec := range r.known {
		hashes = append(hashes, rec.Hash())
	}
	return Digest(hashes)
}
