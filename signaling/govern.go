package signaling

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// Revoke returns the statements that throw a node out, the revocation last. With
// an admin all that it has signed becomes void: unless it is to go as well, what
// the network would lose is signed again in a's name. That is to be published
// first, so that no member is missing in between.
func (r *Roster) Revoke(a Admin, node config.NodeKey, dropSigned bool) ([][]byte, error) {
	if r.admins[node] && !a.IsNetwork() {
		return nil, fmt.Errorf("revoke an admin: %w", ErrNetworkKey)
	}
	s, err := a.Revoke(node)
	if err != nil {
		return nil, err
	}
	if !r.admins[node] || dropSigned {
		return [][]byte{s.raw}, nil
	}
	kept, err := r.inherit(a, s)
	return append(kept, s.raw), err
}

// Admitted returns the members that are so by this admin's word alone: who goes
// with it, unless they are kept.
func (r *Roster) Admitted(admin config.NodeKey) []*SignedRecord {
	var list []*SignedRecord
	for _, rec := range r.Live(time.Time{}) {
		if rec.statement.Signer == Signer(admin) {
			list = append(list, rec)
		}
	}
	return list
}

// RevokedBy returns the records of the nodes that are revoked by this admin's
// word alone: who comes back with its end, unless they are kept out.
func (r *Roster) RevokedBy(admin config.NodeKey) []*SignedRecord {
	after := r.clone()
	for key, s := range after.known {
		if s.Kind == StatementRevocation && s.Signer == Signer(admin) {
			delete(after.known, key)
		}
	}
	after.view = after.look()
	var list []*SignedRecord
	for node, rec := range after.records {
		if r.revoked[node] {
			list = append(list, rec)
		}
	}
	slices.SortFunc(list, byNode)
	return list
}

// saneSequences are those that honest admins come to.
const saneSequences = 1 << 32

// inherit signs again what would be void after the revocation.
func (r *Roster) inherit(a Admin, revocation *Statement) ([][]byte, error) {
	after := r.clone()
	after.Merge(revocation.raw)
	var list [][]byte
	add := func(s *Statement, err error) error {
		if err == nil {
			list = append(list, s.raw)
		}
		return err
	}
	for _, rec := range r.RevokedBy(revocation.Node) {
		if err := add(a.Revoke(rec.Node)); err != nil {
			return nil, err
		}
	}
	if r.hubs != nil && after.hubs != r.hubs {
		raw, err := after.SetHubs(a, r.Hubs().Hubs)
		if err != nil {
			return nil, err
		}
		list = append(list, raw)
	}
	// Records that do not stand stay void: in a's name they might win.
	for node, rec := range r.members {
		if node == revocation.Node || rec.statement.Signer != Signer(revocation.Node) {
			continue
		}
		again := rec.Record
		again.Sequence = 1
		if old := after.records[node]; old != nil { // by somebody else, from before
			if old.WireGuard != rec.WireGuard || old.Sealing != rec.Sealing {
				continue // no machine has other keys than it came with
			}
			again.Sequence = old.Sequence + 1
		}
		if rec.Sequence < saneSequences { // else it counts once the other is void
			again.Sequence = max(again.Sequence, rec.Sequence+1)
		}
		signed, err := a.Record(again)
		if err != nil {
			return nil, err
		}
		list = append(list, signed.Bytes())
	}
	return list, nil
}

// next is the sequence with which a follows a statement.
func (r *Roster) next(a Admin, old *Statement) (uint64, error) {
	seq := old.sequence() + 1
	if seq == 0 || seq >= delegateSequences && !a.IsNetwork() {
		return 0, config.WithHint(errors.New("its sequence number is the last that an admin may sign"),
			"do it on the machine that made the network")
	}
	return seq, nil
}

// Delegate returns the statements that make a member an admin, to be published
// together: its record is from then on the network key's alone to change.
func (r *Roster) Delegate(a Admin, node config.NodeKey) ([][]byte, error) {
	rec, ok := r.members[node]
	switch {
	case !ok:
		return nil, fmt.Errorf("delegate: %v is no member", node)
	case !rec.Expires.IsZero():
		return nil, config.WithHint(fmt.Errorf("the membership of %s ends, and an admin's has no end", rec.Name), "`p2ptun network extend "+rec.Name+"` takes the end away")
	}
	d, err := a.Delegate(node)
	if err != nil {
		return nil, err
	}
	list := [][]byte{d.raw}
	if r.byNetwork(rec.statement) {
		return list, nil
	}
	own, err := r.renew(a, rec, func(*Record) {})
	if err != nil {
		return nil, err
	}
	return append(list, own), nil
}

// Extend returns the statement that moves the end of a membership; the zero
// time is none.
func (r *Roster) Extend(a Admin, node config.NodeKey, expires time.Time) ([]byte, error) {
	rec, ok := r.records[node]
	if !ok {
		return nil, fmt.Errorf("extend: %v is no member", node)
	}
	if r.admins[node] && !a.IsNetwork() {
		return nil, fmt.Errorf("extend the membership of an admin: %w", ErrNetworkKey)
	}
	if r.admins[node] && !expires.IsZero() {
		return nil, fmt.Errorf("%s is an admin, whose membership has no end", rec.Name)
	}
	return r.renew(a, rec, func(next *Record) { next.Expires = expires })
}

// renew signs a record that comes after rec.
func (r *Roster) renew(a Admin, rec *SignedRecord, change func(*Record)) ([]byte, error) {
	seq, err := r.next(a, rec.statement)
	if err != nil {
		return nil, fmt.Errorf("the record of %q cannot be changed: %w", rec.Name, err)
	}
	next := rec.Record
	next.Sequence = seq
	change(&next)
	signed, err := a.Record(next)
	if err != nil {
		return nil, err
	}
	return signed.Bytes(), nil
}

// SetHubs returns the statement that names the network's hubs anew.
func (r *Roster) SetHubs(a Admin, hubs []config.Hub) ([]byte, error) {
	l := HubList{Sequence: 1, Hubs: hubs}
	if r.hubs != nil {
		seq, err := r.next(a, r.hubs)
		if err != nil {
			return nil, fmt.Errorf("the hub list cannot be changed: %w", err)
		}
		l.Sequence = seq
	}
	s, err := a.Hubs(l)
	if err != nil {
		return nil, err
	}
	return s.raw, nil
}
