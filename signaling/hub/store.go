package hub

import (
	"errors"

	"github.com/p2ptun/p2ptun/config"
)

// Store keeps what outlives connections: tables of small values per network.
// Each write gets the next revision of its table, so that a reader can ask
// for what changed since. It is safe for concurrent use. One bbolt file
// implements it, see boltStore; a store of several hubs can.
type Store interface {
	// Known says whether the network was created.
	Known(config.NetworkKey) (bool, error)

	// Create makes the network, or does nothing if it is known. It returns
	// errFull when the hub has as many as it takes.
	Create(config.NetworkKey) error

	// Get returns the key's entry, with Revision 0 if there is none, also in
	// a network that is not known.
	Get(network config.NetworkKey, table string, key []byte) (Entry, error)

	// After returns up to limit entries (0: all) with a revision above since,
	// oldest first, and the table's last revision. It returns nothing but
	// errUnknown for a network that is not known.
	After(network config.NetworkKey, table string, since uint64, limit int) (entries []Entry, last uint64, err error)

	// Put writes all entries or none, durably when it returns. Revision is
	// the one the caller saw, 0 for a new key; errConflict says that another
	// writer was faster. A nil Value deletes.
	Put(network config.NetworkKey, table string, entries []Entry) error

	// Watch calls changed after each Put to the table until stop. changed
	// must not block; calls may coincide.
	Watch(network config.NetworkKey, table string, changed func()) (stop func())
}

// Entry is a key with its value and the revision that wrote it.
type Entry struct {
	Key, Value []byte
	Revision   uint64
}

// The tables of a network.
const (
	tableStatements = "statements" // signaling.Statement.Key → signed statement
	tableTickets    = "tickets"    // ticket hash → storedTicket
)

// Quotas, far above what a hub on a small machine serves.
const (
	maxNetworks = 10_000
	maxEntries  = 100_000 // per table, far above what one delegate may sign
)

var (
	errConflict = errors.New("store: changed by another writer")
	errFull     = errors.New("store: quota reached")
	errUnknown  = errors.New("store: network is not known")
)

// update puts what decide makes of the keys' current entries, again if
// another writer was faster. decide returns the entries to write.
func update(s Store, network config.NetworkKey, table string, keys [][]byte, decide func(current []Entry) []Entry) error {
	for {
		current := make([]Entry, len(keys))
		for i, k := range keys {
			var err error
			if current[i], err = s.Get(network, table, k); err != nil {
				return err
			}
		}
		changed := decide(current)
		if len(changed) == 0 {
			return nil
		}
		if err := s.Put(network, table, changed); !errors.Is(err, errConflict) {
			return err
		}
	}
}
