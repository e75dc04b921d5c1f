package hub

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/p2ptun/p2ptun/config"
	bolt "go.etcd.io/bbolt"
)

// state is what the hub keeps in its directory: one bbolt file with its
// identity, its access key and the Store. bbolt syncs before a write returns.
type state struct {
	dir      *config.Dir
	db       *bolt.DB
	store    *boltStore
	identity config.HubPrivateKey
	access   [config.AccessSize]byte
}

const (
	stateFile = "hub.db"

	lockTimeout = 300 * time.Millisecond // a process that is just ending
)

var (
	bucketHub   = []byte("hub")
	keyIdentity = []byte("identity")
	keyAccess   = []byte("access")
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

// loadKeys reads the hub's identity and access key, and makes them at first.
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
		if len(b.Get(keyAccess)) != len(s.access) {
			return errors.New("the access key is damaged")
		}
		copy(s.access[:], b.Get(keyAccess))
		return s.identity.SetSeed(b.Get(keyIdentity))
	})
}

// close is idempotent.
func (s *state) close() {
	s.db.Close()
	s.dir.Close()
}

func hubLink(public []netip.Addr, port uint16, s *state) config.HubLink {
	l := config.HubLink{Access: s.access}
	l.Key = s.identity.Public()
	for _, a := range public {
		l.URLs = append(l.URLs, "ws://"+netip.AddrPortFrom(a, port).String())
	}
	return l
}
