package config

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func testStore(t *testing.T, d *Dir) (s *KeyStore, stop func()) {
	t.Helper()
	s, err := d.OpenKeys(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return s, stop
}

func someKeys(n, use int) PeerKeys {
	p := PeerKeys{Use: use}
	for range n {
		p.Keys = append(p.Keys, NewPresharedKey())
	}
	return p
}

// onDisk is what a start after a crash at this instant would find.
func onDisk(t *testing.T, d *Dir, node NodeKey) PeerKeys {
	t.Helper()
	peers, err := d.loadKeys()
	if err != nil {
		t.Fatal(err)
	}
	return peers[node]
}

// TestKeysAreDurable puts the keys of many peers at once; what is durable is on
// disk. Few writes do for all.
func TestKeysAreDurable(t *testing.T) {
	d := openTestDir(t)
	s, _ := testStore(t, d)
	const peers = 200
	var all sync.WaitGroup
	for i := range peers {
		all.Go(func() {
			node, want := pattern[NodeKey](byte(i)), someKeys(1+i%MaxPeerKeys, 0)
			node[0], node[1] = byte(i), byte(i>>8)
			if err := s.Put(node, want)(); err != nil {
				t.Error(err)
			}
			if got := onDisk(t, d, node); !reflect.DeepEqual(got, want) {
				t.Errorf("peer %d: other keys on disk", i)
			}
		})
	}
	all.Wait()
	info, err := os.Stat(filepath.Join(d.Path(), keysFile))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
}

func TestKeysAreRemoved(t *testing.T) {
	d := openTestDir(t)
	s, stop := testStore(t, d)
	a, b := pattern[NodeKey](1), pattern[NodeKey](2)
	s.Put(a, someKeys(3, 1))
	if err := s.Put(b, someKeys(2, 1))(); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(a, PeerKeys{})(); err != nil {
		t.Fatal(err)
	}
	if len(s.Get(a).Keys)+len(onDisk(t, d, a).Keys) != 0 || len(onDisk(t, d, b).Keys) != 2 {
		t.Error("the keys of the removed peer are there, or those of another are not")
	}
	s.Retain(func(NodeKey) bool { return false })
	stop()
	if len(onDisk(t, d, b).Keys) != 0 {
		t.Error("the keys of a peer that is none are there")
	}
	if err := s.Put(a, someKeys(1, 0))(); err == nil {
		t.Error("durable after the end")
	}
	if err := d.Forget(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.Path(), keysFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Forget: %v", err)
	}
}

// TestDamagedKeys: the store begins anew and says so; the next write mends it.
func TestDamagedKeys(t *testing.T) {
	key := `"` + strings.Repeat("A", 42) + `8="`
	node := `"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="`
	for _, damaged := range []string{
		``, `{`, `[{"node":` + node + `,"keys":[],"use":0}]`, `[{"node":` + node + `,"keys":["AA=="],"use":0}]`,
		`[{"node":` + node + `,"keys":[` + key + `],"use":1}]`, `[{"node":` + node + `,"keys":[` + key + `],"use":-1}]`,
		`[{"node":` + node + `,"keys":["` + strings.Repeat("A", 43) + `="],"use":0}]`, // zero
		`[{"node":` + node + `,"keys":[` + key + `,` + key + `,` + key + `,` + key + `],"use":0}]`,
	} {
		d := openTestDir(t)
		if err := os.WriteFile(filepath.Join(d.Path(), keysFile), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := d.OpenKeys(slog.New(slog.DiscardHandler))
		if err == nil || len(s.peers) > 0 {
			t.Errorf("%q: read as %d peers, %v", damaged, len(s.peers), err)
		}
		s.Put(pattern[NodeKey](1), someKeys(1, 0))
		if err := s.save(); err != nil {
			t.Fatal(err)
		}
		if got := onDisk(t, d, pattern[NodeKey](1)); len(got.Keys) != 1 {
			t.Errorf("%q: not mended", damaged)
		}
	}
}

// A write that fails is told to who waits, and made up for.
func TestKeysThatCannotBeSaved(t *testing.T) {
	d := openTestDir(t)
	var log bytes.Buffer
	s, err := d.OpenKeys(slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Path(), keysFile)
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if err := s.Put(pattern[NodeKey](1), someKeys(1, 0))(); err == nil {
		t.Error("saved over a directory")
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("does not end")
	}
	if got := onDisk(t, d, pattern[NodeKey](1)); len(got.Keys) != 1 {
		t.Error("what failed was not written later")
	}
	if !strings.Contains(log.String(), "preshared keys not saved") {
		t.Errorf("logged %q", log.String())
	}
}
