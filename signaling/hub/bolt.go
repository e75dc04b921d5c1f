package hub

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/p2ptun/p2ptun/config"
	bolt "go.etcd.io/bbolt"
)

// boltStore is the Store in one bbolt file:
//
//	networks / network key / table / "values" : key      → revision (8) ‖ value
//	                               / "order"  : revision → key
//
// The bucket of a table counts its revisions.
type boltStore struct {
	db *bolt.DB

	mu       sync.Mutex // guards watchers
	watchers map[watched]map[*func()]struct{}
}

type watched struct {
	network config.NetworkKey
	table   string
}

var (
	bucketNetworks = []byte("networks")
	bucketValues   = []byte("values")
	bucketOrder    = []byte("order")
)

func newBoltStore(db *bolt.DB) *boltStore {
	return &boltStore{db: db, watchers: make(map[watched]map[*func()]struct{})}
}

// table is one open table in a transaction.
type table struct {
	*bolt.Bucket
	values, order *bolt.Bucket
}

// openTable returns errUnknown for a network that is not known, and no table
// for one that was never written to.
func openTable(tx *bolt.Tx, network config.NetworkKey, name string) (*table, error) {
	networks := tx.Bucket(bucketNetworks)
	if networks == nil || networks.Bucket(network[:]) == nil {
		return nil, errUnknown
	}
	b := networks.Bucket(network[:]).Bucket([]byte(name))
	if b == nil {
		return nil, nil
	}
	return &table{b, b.Bucket(bucketValues), b.Bucket(bucketOrder)}, nil
}

// makeTable is openTable for writing.
func makeTable(tx *bolt.Tx, network config.NetworkKey, name string) (*table, error) {
	t, err := openTable(tx, network, name)
	if t != nil || err != nil {
		return t, err
	}
	b, err := tx.Bucket(bucketNetworks).Bucket(network[:]).CreateBucket([]byte(name))
	if err != nil {
		return nil, err
	}
	t = &table{Bucket: b}
	if t.values, err = b.CreateBucket(bucketValues); err != nil {
		return nil, err
	}
	t.order, err = b.CreateBucket(bucketOrder)
	return t, err
}

func (t *table) get(key []byte) (Entry, error) {
	v := t.values.Get(key)
	switch {
	case v == nil:
		return Entry{Key: key}, nil
	case len(v) < 8:
		return Entry{}, fmt.Errorf("store: entry %x is damaged", key)
	}
	return Entry{Key: key, Value: slices.Clone(v[8:]), Revision: binary.BigEndian.Uint64(v)}, nil
}

// put writes one entry, or deletes it.
func (t *table) put(e Entry) error {
	old, err := t.get(e.Key)
	if err != nil {
		return err
	}
	if old.Revision != e.Revision {
		return errConflict
	}
	if old.Revision != 0 {
		if err := t.order.Delete(revisionKey(old.Revision)); err != nil {
			return err
		}
	}
	if e.Value == nil {
		return t.values.Delete(e.Key)
	}
	next, err := t.NextSequence()
	if err != nil {
		return err
	}
	if err := t.order.Put(revisionKey(next), e.Key); err != nil {
		return err
	}
	return t.values.Put(e.Key, append(revisionKey(next), e.Value...))
}

func countKeys(b *bolt.Bucket) (n int) {
	c := b.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	return n
}

func revisionKey(r uint64) []byte { return binary.BigEndian.AppendUint64(nil, r) }

func (s *boltStore) Known(network config.NetworkKey) (known bool, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketNetworks)
		known = b != nil && b.Bucket(network[:]) != nil
		return nil
	})
	return known, err
}

func (s *boltStore) Create(network config.NetworkKey) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketNetworks)
		if err != nil || b.Bucket(network[:]) != nil {
			return err
		}
		if countKeys(b) >= maxNetworks {
			return errFull
		}
		_, err = b.CreateBucket(network[:])
		return err
	})
}

func (s *boltStore) Get(network config.NetworkKey, name string, key []byte) (e Entry, err error) {
	e = Entry{Key: key}
	err = s.db.View(func(tx *bolt.Tx) error {
		t, err := openTable(tx, network, name)
		if t == nil || err != nil {
			return nil // nothing there is no error
		}
		e, err = t.get(key)
		return err
	})
	return e, err
}

func (s *boltStore) After(network config.NetworkKey, name string, since uint64, limit int) (entries []Entry, last uint64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		t, err := openTable(tx, network, name)
		if t == nil || err != nil {
			return err
		}
		last = t.Sequence()
		c := t.order.Cursor()
		for r, key := c.Seek(revisionKey(since + 1)); r != nil; r, key = c.Next() {
			if limit > 0 && len(entries) == limit {
				return nil
			}
			e, err := t.get(slices.Clone(key))
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return nil
	})
	return entries, last, err
}

func (s *boltStore) Put(network config.NetworkKey, name string, entries []Entry) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		t, err := makeTable(tx, network, name)
		if err != nil {
			return err
		}
		added := false
		for _, e := range entries {
			if err := t.put(e); err != nil {
				return err
			}
			added = added || e.Revision == 0
		}
		if added && countKeys(t.values) > maxEntries {
			return errFull
		}
		return nil
	})
	if err == nil {
		s.notify(watched{network, name})
	}
	return err
}

func (s *boltStore) Watch(network config.NetworkKey, name string, changed func()) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := watched{network, name}
	if s.watchers[w] == nil {
		s.watchers[w] = make(map[*func()]struct{})
	}
	s.watchers[w][&changed] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers[w], &changed)
		if len(s.watchers[w]) == 0 {
			delete(s.watchers, w)
		}
	}
}

func (s *boltStore) notify(w watched) {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.watchers[w]))
	s.mu.Unlock()
	for _, changed := range all {
		(*changed)()
	}
}
