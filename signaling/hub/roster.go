package hub

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// rosters are what follows from the statements of the networks whose members
// are connected. It is safe for concurrent use.
type rosters struct {
	store Store

	mu        sync.Mutex // guards what follows
	byNetwork map[config.NetworkKey]*roster
}

// roster is one network's, as far as the Store has been read. Its methods are
// safe for concurrent use.
type roster struct {
	network config.NetworkKey
	store   Store
	users   int // guarded by rosters.mu

	mu       sync.Mutex        // guards what follows
	known    *signaling.Roster // nil: to be read anew
	sequence uint64            // of the Store, up to which known goes
	digest   []byte            // nil: to be computed
}

func newRosters(s Store) *rosters {
	return &rosters{store: s, byNetwork: make(map[config.NetworkKey]*roster)}
}

// use returns the network's roster, to be kept until release.
func (r *rosters) use(network config.NetworkKey) (n *roster, release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = r.byNetwork[network]
	if n == nil {
		n = &roster{network: network, store: r.store}
		r.byNetwork[network] = n
	}
	n.users++
	return n, sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if n.users--; n.users == 0 {
			delete(r.byNetwork, network)
		}
	})
}

// vouchedFor is how long a roster is kept that was asked about a member: when
// the hub starts anew all of a network ask at about the same time.
const vouchedFor = time.Minute

// vouches says whether somebody is a member, as far as is stored.
func (r *rosters) vouches(who identity) (member bool) {
	if known, err := r.store.Known(who.network); err != nil || !known {
		return false
	}
	n, release := r.use(who.network)
	time.AfterFunc(vouchedFor, release)
	err := n.look(func(known *signaling.Roster) {
		rec, ok := known.Record(who.node)
		member = ok && !known.IsRevoked(who.node) && rec.Live(time.Now())
	})
	return err == nil && member
}

// look calls f with the roster as it stands. f must not keep it.
func (n *roster) look(f func(*signaling.Roster)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.readLocked(); err != nil {
		return err
	}
	f(n.known)
	return nil
}

// readLocked catches up with the Store.
func (n *roster) readLocked() error {
	if n.known == nil {
		n.known, n.sequence, n.digest = signaling.NewRoster(n.network), 0, nil
	}
	entries, last, err := n.store.After(n.network, tableStatements, n.sequence, 0)
	if err != nil {
		return err
	}
	raw := make([][]byte, len(entries))
	for i, e := range entries {
		raw[i] = e.Value
	}
	if len(n.known.Restore(raw...).Taken) > 0 {
		n.digest = nil
	}
	n.sequence = last
	return nil
}

// digestAt returns the digest of all statements at that sequence, errConflict
// if it is not the last.
func (n *roster) digestAt(sequence uint64) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.readLocked(); err != nil {
		return nil, err
	}
	if n.sequence != sequence {
		return nil, errConflict
	}
	if n.digest == nil {
		n.digest = n.known.Digest()
	}
	return n.digest, nil
}

// publish stores the statements that are new and returns what they changed; the
// Store's watchers tell the members. Err in it says which were refused.
func (n *roster) publish(raw [][]byte) (signaling.Change, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.readLocked(); err != nil {
		return signaling.Change{}, err
	}
	change := n.known.Merge(raw...)
	if len(change.Taken) == 0 {
		return change, nil
	}
	n.digest = nil
	err := n.putLocked(&change)
	if err != nil {
		n.known = nil // it knows more than is stored
	}
	return change, err
}

// putLocked stores what was taken and deletes what was dropped, at once.
func (n *roster) putLocked(change *signaling.Change) error {
	next := make(map[string]*signaling.Statement)
	var keys [][]byte
	for _, s := range change.Dropped {
		next[string(s.Key())] = nil
	}
	for _, s := range change.Taken {
		next[string(s.Key())] = s
	}
	for key := range next {
		keys = append(keys, []byte(key))
	}
	slices.SortFunc(keys, bytes.Compare) // a signer's right first
	return update(n.store, n.network, tableStatements, keys, func(current []Entry) []Entry {
		var changed []Entry
		for _, e := range current {
			s := next[string(e.Key)]
			if s == nil {
				if e.Value != nil {
					e.Value = nil
					changed = append(changed, e)
				}
				continue
			}
			old, err := signaling.ParseStatement(n.network, e.Value)
			if err == nil && !s.Supersedes(old) {
				continue // another hub was faster
			}
			e.Value = s.Bytes()
			changed = append(changed, e)
		}
		return changed
	})
}
