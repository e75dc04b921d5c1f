package hub

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/p2ptun/p2ptun/config"
	bolt "go.etcd.io/bbolt"
)

// state is what the hub keeps in its directory: one bbolt file with its
// identity, its access key, its TLS key, its relay's key and the Store. bbolt syncs before a
// write returns.
type state struct {
	dir      *config.Dir
	db       *bolt.DB
	store    *boltStore
	identity config.HubPrivateKey
	access   [config.AccessSize]byte // Hub.linkMu guards it from then on
	tls      ed25519.PrivateKey
	relay    []byte // relaySecret bytes, see relayKey
}

const (
	stateFile = "hub.db"

	lockTimeout = 300 * time.Millisecond // a process that is just ending
)

var (
	bucketHub   = []byte("hub")
	keyIdentity = []byte("identity")
	keyAccess   = []byte("access")
	keyTLS      = []byte("tls") // seed
	keyRelay    = []byte("relay")
)

func openState(path string) (*state, error) {
	dir, err := config.OpenDir(path)
	if errors.Is(err, config.ErrInUse) {
		return nil, config.WithHint(err, "another hub runs on this state: stop it, or give this one its own --state DIR")
	}
	if err != nil {
		return nil, err
	}
	file := filepath.Join(path, stateFile)
	db, err := openDB(file)
	if err != nil {
		dir.Close()
		return nil, err
	}
	s := &state{dir: dir, db: db, store: newBoltStore(db)}
	if err := s.loadKeys(); err != nil {
		s.close()
		return nil, fmt.Errorf("hub state %s: %w", file, err)
	}
	return s, nil
}

// loadKeys reads the hub's keys, and makes those that there are not.
func (s *state) loadKeys() error {
	return s.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketHub)
		if err != nil {
			return err
		}
		if b.Get(keyIdentity) == nil {
			id, access := config.NewHubKey(), make([]byte, config.AccessSize)
			rand.Read(access)
			if err := errors.Join(b.Put(keyIdentity, id.Seed()), b.Put(keyAccess, access)); err != nil {
				return err
			}
		}
		if b.Get(keyTLS) == nil {
			seed := make([]byte, ed25519.SeedSize)
			rand.Read(seed)
			if err := b.Put(keyTLS, seed); err != nil {
				return err
			}
		}
		if b.Get(keyRelay) == nil {
			secret := make([]byte, relaySecret)
			rand.Read(secret)
			if err := b.Put(keyRelay, secret); err != nil {
				return err
			}
		}
		switch {
		case len(b.Get(keyAccess)) != len(s.access):
			return errors.New("the access key is damaged")
		case len(b.Get(keyTLS)) != ed25519.SeedSize:
			return errors.New("the TLS key is damaged")
		case len(b.Get(keyRelay)) != relaySecret:
			return errors.New("the relay's key is damaged")
		}
		copy(s.access[:], b.Get(keyAccess))
		s.tls = ed25519.NewKeyFromSeed(b.Get(keyTLS))
		s.relay = bytes.Clone(b.Get(keyRelay))
		return s.identity.SetSeed(b.Get(keyIdentity))
	})
}

// rotateAccess makes a new access key, which is durable when it returns.
func (s *state) rotateAccess() error {
	var access [config.AccessSize]byte
	rand.Read(access[:])
	err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketHub).Put(keyAccess, access[:]) })
	if err != nil {
		return fmt.Errorf("hub state: %w", err)
	}
	s.access = access
	return nil
}

// close is idempotent.
func (s *state) close() {
	s.db.Close()
	s.dir.Close()
}
