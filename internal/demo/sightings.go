package main

import (
	"context"
	"fmt"
	"sync"
)

// sighting is what a node was seen to say: about a peer, or, without one,
// about its own candidate of a type.
type sighting struct{ node, msg, about string }

func (s sighting) String() string { return fmt.Sprintf("%s of %s (%s)", s.msg, s.node, s.about) }

// sightings remembers what the nodes' logs have told. Safe for concurrent use.
type sightings struct {
	mu   sync.Mutex
	seen map[sighting]bool
	more chan struct{} // closed at each new one
}

func newSightings() *sightings {
	return &sightings{seen: make(map[sighting]bool), more: make(chan struct{})}
}

// add says whether it is new.
func (s *sightings) add(x sighting) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[x] {
		return false
	}
	s.seen[x] = true
	close(s.more)
	s.more = make(chan struct{})
	return true
}

// wait returns when all have been seen, or ctx has ended.
func (s *sightings) wait(ctx context.Context, want ...sighting) error {
	for _, x := range want {
		for {
			s.mu.Lock()
			seen, more := s.seen[x], s.more
			s.mu.Unlock()
			if seen {
				break
			}
			select {
			case <-more:
			case <-ctx.Done():
				return fmt.Errorf("not seen: %v: %w", x, context.Cause(ctx))
			}
		}
	}
	return nil
}
