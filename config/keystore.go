package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// MaxPeerKeys is how many preshared keys are kept of one peer.
const MaxPeerKeys = 3

// PeerKeys are the preshared keys that this node has in common with a peer, or
// may have. The zero value is none.
type PeerKeys struct {
	Keys []PresharedKey // oldest first, at most MaxPeerKeys
	Use  int            // the one in use: the newest that the peer is known to have
}

// check says what makes keys unusable.
func (p PeerKeys) check() error {
	switch {
	case len(p.Keys) == 0 || len(p.Keys) > MaxPeerKeys:
		return fmt.Errorf("a peer has %d keys", len(p.Keys))
	case p.Use < 0 || p.Use >= len(p.Keys):
		return errors.New("the key in use is not there")
	}
	for _, k := range p.Keys {
		if k.IsZero() {
			return errors.New("a key is zero")
		}
	}
	return nil
}

// peerKeysJSON is PeerKeys in the file: the one place where they are written.
type peerKeysJSON struct {
	Node NodeKey  `json:"node"`
	Keys [][]byte `json:"keys"`
	Use  int      `json:"use"`
}

// KeyStore keeps the peers' preshared keys in memory and on disk. Many peers
// may get keys at once: one goroutine writes them all, and whoever needs a
// change to outlive a crash waits for it.
//
// Safe for concurrent use.
type KeyStore struct {
	dir *Dir
	log *slog.Logger
	new chan struct{} // holds one signal while there is something to write
	end chan struct{} // closed when Run has returned

	mu      sync.Mutex // guards all below
	peers   map[NodeKey]PeerKeys
	version uint64        // of peers
	tried   uint64        // the newest version that was written, or failed to
	err     error         // of that write
	written chan struct{} // closed after the next write
}

// OpenKeys reads the keys. The store is good for use in any case: the error
// says why it begins without any, which costs no more than a new session with
// each peer.
func (d *Dir) OpenKeys(log *slog.Logger) (*KeyStore, error) {
	s := &KeyStore{dir: d, log: log, new: make(chan struct{}, 1), end: make(chan struct{}), written: make(chan struct{})}
	var err error
	if s.peers, err = d.loadKeys(); err != nil {
		s.peers = make(map[NodeKey]PeerKeys)
		err = fmt.Errorf("the peers' preshared keys cannot be read, each peer makes new ones with the next session: %w", err)
	}
	return s, err
}

func (d *Dir) loadKeys() (map[NodeKey]PeerKeys, error) {
	var list []peerKeysJSON
	if _, err := d.load(keysFile, &list); err != nil {
		return nil, err
	}
	peers := make(map[NodeKey]PeerKeys)
	for _, f := range list {
		p := PeerKeys{Keys: make([]PresharedKey, len(f.Keys)), Use: f.Use}
		for i, seed := range f.Keys {
			if err := p.Keys[i].SetSeed(seed); err != nil {
				return nil, d.damaged(keysFile, err)
			}
		}
		if err := p.check(); err != nil {
			return nil, d.damaged(keysFile, err)
		}
		peers[f.Node] = p
	}
	return peers, nil
}

// Get returns the keys of a peer. They are not to be changed.
func (s *KeyStore) Get(node NodeKey) PeerKeys {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[node]
}

// Put replaces the keys of a peer, which the caller does not change any more;
// none removes it. It returns at once; durable waits until the change is on
// disk, and fails where that did. Run has to be running then.
func (s *KeyStore) Put(node NodeKey, keys PeerKeys) (durable func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(keys.Keys) == 0 {
		delete(s.peers, node)
	} else {
		s.peers[node] = keys
	}
	return s.changedLocked()
}

// Retain removes the keys of all peers but those that keep says.
func (s *KeyStore) Retain(keep func(NodeKey) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.peers)
	for node := range s.peers {
		if !keep(node) {
			delete(s.peers, node)
		}
	}
	if len(s.peers) != before {
		s.changedLocked()
	}
}

func (s *KeyStore) changedLocked() (durable func() error) {
	s.version++
	version := s.version
	select {
	case s.new <- struct{}{}:
	default:
	}
	return func() error { return s.wait(version) }
}

// wait returns when a version is on disk, or failed to get there.
func (s *KeyStore) wait(version uint64) error {
	for {
		s.mu.Lock()
		tried, err, written := s.tried, s.err, s.written
		s.mu.Unlock()
		if tried >= version {
			return err
		}
		select {
		case <-written:
		case <-s.end:
			return errors.New("preshared keys: the store is closed")
		}
	}
}

// saveAgain is how long after a failed write the next one is tried.
const saveAgain = 10 * time.Second

// Run writes what changes until ctx ends, and what is left then. Call it once.
func (s *KeyStore) Run(ctx context.Context) error {
	defer close(s.end)
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return s.save()
		case <-s.new:
		case <-again:
		}
		again = nil
		if err := s.save(); err != nil {
			s.log.Error("preshared keys not saved", "err", err)
			again = time.After(saveAgain)
		}
	}
}

// save writes the newest version, unless it is on disk.
func (s *KeyStore) save() error {
	s.mu.Lock()
	if s.tried == s.version && s.err == nil {
		s.mu.Unlock()
		return nil
	}
	version, list := s.version, make([]peerKeysJSON, 0, len(s.peers))
	for node, p := range s.peers {
		f := peerKeysJSON{Node: node, Use: p.Use}
		for _, k := range p.Keys {
			f.Keys = append(f.Keys, k.Seed())
		}
		list = append(list, f)
	}
	s.mu.Unlock()

	err := s.dir.save(keysFile, list)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried, s.err = version, err
	close(s.written)
	s.written = make(chan struct{})
	return err
}
