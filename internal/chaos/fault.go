package main

import (
	"slices"
	"strings"
	"time"
)

// fault is a row of the table: what happens, and to whom.
type fault struct {
	name  string
	pairs string // names, apart by commas

	short   string               // of them, those in the short form
	prepare func(s *stage) error // before anything runs; may be nil
	begin   func(s *stage) error
	lasts   time.Duration
	end     func(s *stage) error // nil: it stays so

	// blind is the pairs that have no possible path while it lasts: their
	// silence counts from its end.
	blind string

	// hub says that it is the hub or a relay that fails, so that who needs
	// neither must not notice.
	hub bool

	receives bool // node a sends nothing by itself, and there is no TCP

	clock bool // node a needs one that can be stepped

	// In a soak: whom it can strike, nil for all, and what undoes it where
	// nothing else ends it.
	can  func(p *place) bool
	undo func(s *stage) error
}

// Goals, see docs/reliability.md.
const (
	unnoticed    = 60 * time.Millisecond
	changeGoal   = time.Second
	relayGoal    = 2 * time.Second
	bestPathGoal = 3 * time.Second
)

// goal is how long a pair may be silent at most.
func (f *fault) goal(p *pair) time.Duration {
	switch {
	case p.kind != relayed && f.hub:
		return unnoticed
	case p.kind != relayed, !f.isBlind(p) && f.hub:
		return changeGoal
	}
	return relayGoal
}

func (f *fault) isBlind(p *pair) bool { return has(f.blind, p) }
func (f *fault) strikes(p *pair) bool { return has(f.pairs, p) }
func has(names string, p *pair) bool  { return slices.Contains(split(names), p.name) }

// split is the names in a list, which may be empty.
func split(names string) []string {
	return strings.FieldsFunc(names, func(r rune) bool { return r == ',' })
}
