package signaling

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// Roster is what is known of a network: the statements that its admins have
// signed, and what follows from them. It follows from the set alone, in whatever
// order they came, so that all nodes agree and a digest covers the same
// statements everywhere, the hub included:
//
//   - The network's key may sign everything. It makes delegates, who may sign
//     all but delegations, with sequences below delegateSequences, and so much
//     that maxSigned of it are kept.
//   - A revocation counts for ever. An admin is revoked by the network's key
//     only; with that all that it has signed is void, and forgotten.
//   - Of the records of one node the newest counts; of an admin's node those
//     of the network's key before any other.
//   - Members are the nodes with a record, not revoked, that do not clash with
//     a better one, see standing.
//
// A Roster is not safe for concurrent use.
type Roster struct {
	network config.NetworkKey
	known   map[string]*Statement // by Statement.Key
	hashes  map[[32]byte]*Statement
	admins  map[config.NodeKey]bool
	barred  map[config.NodeKey]bool // revoked by the network's key
	signed  map[Signer]int          // how much each delegate has signed
	view
}

// view is what follows from the statements.
type view struct {
	revoked map[config.NodeKey]bool
	records map[config.NodeKey]*SignedRecord // the one that counts of each node that is not revoked
	members map[config.NodeKey]*SignedRecord // of those, the ones that stand
	hubs    *Statement
}

const (
	// maxSigned bounds what one delegate can make everybody keep. Of more the
	// first by Statement.Key are kept, so that all keep the same.
	maxSigned = 5000

	// delegateSequences bounds the sequences that a delegate may sign, so that
	// the network's key can always follow it.
	delegateSequences = 1 << 63
)

// NewRoster returns an empty roster of the network.
func NewRoster(network config.NetworkKey) *Roster {
	r := &Roster{
		network: network,
		known:   make(map[string]*Statement),
		hashes:  make(map[[32]byte]*Statement),
		admins:  make(map[config.NodeKey]bool),
		barred:  make(map[config.NodeKey]bool),
		signed:  make(map[Signer]int),
	}
	r.view = r.look()
	return r
}

// Change is what some statements did, the records ordered by node key.
type Change struct {
	Taken   []*Statement    // those that are new
	Dropped []*Statement    // those that are void now: their signer was revoked, or has signed too much
	Added   []*SignedRecord // members now, by a new record or because another made way
	Removed []*SignedRecord // members no more, or by an older record
	Revoked []config.NodeKey
	Hubs    bool  // there is another hub list
	Err     error // why some were refused: ErrSignature, ErrVoid; nil if none was
}

// Merge takes signed statements, in any order. Those that are known, or older
// than what is known, change nothing and are no error.
func (r *Roster) Merge(raw ...[]byte) Change { return r.merge(raw, ParseStatement) }

// Restore is Merge for statements that were verified before they were stored
// where nobody else can write.
func (r *Roster) Restore(raw ...[]byte) Change { return r.merge(raw, parseStored) }

func (r *Roster) merge(raw [][]byte, parse func(config.NetworkKey, []byte) (*Statement, error)) Change {
	var c Change
	var errs []error
	// A signer's right first, then what it signed.
	for _, b := range slices.SortedStableFunc(slices.Values(raw), byKind) {
		if r.hashes[sha256.Sum256(b)] != nil {
			continue
		}
		s, err := (*Statement)(nil), error(nil)
		if r.mayBe(b) { // else a signature need not be verified
			s, err = parse(r.network, b)
		} else {
			err = fmt.Errorf("statement: %w", ErrVoid)
		}
		if err == nil {
			err = r.take(s, &c)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	c.Err = errors.Join(errs...)
	c.Taken = slices.DeleteFunc(c.Taken, func(s *Statement) bool { return !r.Has(s.hash) })
	if len(c.Taken) > 0 {
		before := r.view
		r.view = r.look()
		c.compare(&before, &r.view)
	}
	return c
}

func byKind(a, b []byte) int {
	return slices.Compare(a[:min(1, len(a))], b[:min(1, len(b))])
}

// mayBe says whether the one that a statement names as its signer may sign any.
// What is no statement it leaves to the parser.
func (r *Roster) mayBe(raw []byte) bool {
	if len(raw) < statementHeader {
		return true
	}
	signer := Signer(raw[1:33])
	return signer == Signer(r.network) || r.admins[config.NodeKey(signer)]
}

// take adds a statement if its signer may say it and it is new.
func (r *Roster) take(s *Statement, c *Change) error {
	if !r.maySign(s) {
		return fmt.Errorf("statement: %w", ErrVoid)
	}
	key := string(s.Key())
	old := r.known[key]
	if old != nil && !s.Supersedes(old) {
		return nil
	}
	if old != nil {
		delete(r.hashes, old.hash)
	}
	r.known[key], r.hashes[s.hash] = s, s
	c.Taken = append(c.Taken, s)
	switch {
	case r.byNetwork(s):
		r.empower(s, c)
	case old == nil:
		r.signed[s.Signer]++
		if r.signed[s.Signer] > maxSigned {
			return r.limit(s, c)
		}
	}
	return nil
}

func (r *Roster) maySign(s *Statement) bool {
	return r.byNetwork(s) ||
		s.Kind != StatementDelegation && s.sequence() < delegateSequences && r.admins[config.NodeKey(s.Signer)]
}

// empower keeps up who is an admin. What a revoked one has signed goes.
func (r *Roster) empower(s *Statement, c *Change) {
	switch s.Kind {
	case StatementDelegation:
		if !r.barred[s.Node] {
			r.admins[s.Node] = true
		}
	case StatementRevocation:
		r.barred[s.Node] = true
		delete(r.admins, s.Node)
		if r.signed[Signer(s.Node)] == 0 {
			return
		}
		for _, o := range r.known {
			if o.Signer == Signer(s.Node) {
				r.drop(o, c)
			}
		}
	}
}

// limit drops the last statement of a signer that has signed too many, which
// may be the newest.
func (r *Roster) limit(newest *Statement, c *Change) error {
	last := newest
	for _, o := range r.known {
		if o.Signer == last.Signer && o.compare(last) > 0 {
			last = o
		}
	}
	r.drop(last, c)
	if last == newest {
		return errors.New("statement: its signer has signed too many")
	}
	return nil
}

func (r *Roster) drop(s *Statement, c *Change) {
	delete(r.known, string(s.Key()))
	delete(r.hashes, s.hash)
	r.signed[s.Signer]--
	c.Dropped = append(c.Dropped, s)
}

// compare finds what has changed for the members.
func (c *Change) compare(before, after *view) {
	for node, rec := range after.members {
		if before.members[node] != rec {
			c.Added = append(c.Added, rec)
		}
	}
	for node, rec := range before.members {
		if after.members[node] != rec {
			c.Removed = append(c.Removed, rec)
		}
	}
	for node := range after.revoked {
		if !before.revoked[node] {
			c.Revoked = append(c.Revoked, node)
		}
	}
	slices.SortFunc(c.Added, byNode)
	slices.SortFunc(c.Removed, byNode)
	slices.SortFunc(c.Revoked, compareKeys)
	c.Hubs = before.hubs != after.hubs
}

// Get returns a member's record.
func (r *Roster) Get(node config.NodeKey) (*SignedRecord, bool) {
	rec, ok := r.members[node]
	return rec, ok
}

// Record returns the record that counts of a node, also of one that does not
// stand because it clashes with a better one. There is none of a revoked node.
func (r *Roster) Record(node config.NodeKey) (*SignedRecord, bool) {
	rec, ok := r.records[node]
	return rec, ok
}

// Records returns what Record does of all nodes, ordered by node key.
func (r *Roster) Records() []*SignedRecord {
	return slices.SortedFunc(maps.Values(r.records), byNode)
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

// IsAdmin says whether the node may sign statements.
func (r *Roster) IsAdmin(node config.NodeKey) bool { return r.admins[node] }

// IsRevoked says whether the node was thrown out.
func (r *Roster) IsRevoked(node config.NodeKey) bool { return r.revoked[node] }

// IsBarred says whether the network's key has thrown the node out. What a
// delegate did goes when that one is thrown out itself.
func (r *Roster) IsBarred(node config.NodeKey) bool { return r.barred[node] }

// Hubs returns the network's hub list, nil where none is known.
func (r *Roster) Hubs() *HubList {
	if r.hubs == nil {
		return nil
	}
	return r.hubs.hubs
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

// Statements returns all that is known, in the order in which to send it.
func (r *Roster) Statements() []*Statement {
	return slices.SortedFunc(maps.Values(r.known), (*Statement).compare)
}

// Has says whether the roster holds the statement of that hash.
func (r *Roster) Has(hash [32]byte) bool { return r.hashes[hash] != nil }

// Statement returns the statement of that hash, nil if the roster does not hold
// it.
func (r *Roster) Statement(hash [32]byte) *Statement { return r.hashes[hash] }

// Proof returns the statements that show what the node is: its own delegation
// where it is an admin, that of a delegate that signed its record, the record.
func (r *Roster) Proof(node config.NodeKey) [][]byte {
	rec := r.records[node]
	if rec == nil {
		return nil
	}
	var proof [][]byte
	if r.admins[node] {
		proof = append(proof, r.delegation(node).raw)
	}
	if !r.byNetwork(rec.statement) {
		proof = append(proof, r.delegation(config.NodeKey(rec.statement.Signer)).raw)
	}
	return append(proof, rec.Bytes())
}

// Revocation returns the statement that revokes the node, nil if none does: the
// network key's where there is one, which counts with everybody.
func (r *Roster) Revocation(node config.NodeKey) []byte {
	var best *Statement
	for _, s := range r.known {
		if s.Kind == StatementRevocation && s.Node == node && r.revoked[node] && (best == nil || r.newer(s, best)) {
			best = s
		}
	}
	if best == nil {
		return nil
	}
	return best.raw
}

func (r *Roster) delegation(node config.NodeKey) *Statement {
	s := Statement{Kind: StatementDelegation, Node: node, Signer: Signer(r.network)}
	return r.known[string(s.Key())]
}

// Digest covers what Statements returns, see the function Digest.
func (r *Roster) Digest() []byte {
	return Digest(slices.Collect(maps.Keys(r.hashes)))
}

// knows says whether there is a record of the node, be it one that lost.
func (r *Roster) knows(node config.NodeKey) bool { return r.records[node] != nil || r.revoked[node] }

func (r *Roster) clone() *Roster {
	c := *r
	c.hashes = maps.Clone(r.hashes)
	c.known, c.admins, c.barred, c.signed = maps.Clone(r.known), maps.Clone(r.admins), maps.Clone(r.barred), maps.Clone(r.signed)
	return &c
}
