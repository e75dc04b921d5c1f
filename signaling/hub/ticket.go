package hub

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// storedTicket is what the hub knows of one invite, under its hash.
type storedTicket struct {
	Keeper  config.NodeKey        `json:"keeper"`
	State   signaling.TicketState `json:"state"`
	Changed int64                 `json:"changed"` // Unix seconds
}

const (
	maxTickets = 1000 // per keeper

	// ticketMemory is how long a closed invite gets the answer why.
	ticketMemory = 30 * 24 * time.Hour
)

// ticket looks an invite up by the SHA-256 of what a joiner shows.
func (h *Hub) ticket(network config.NetworkKey, hash []byte) (t storedTicket, found bool, err error) {
	e, err := h.store.Get(network, tableTickets, hash)
	if err != nil || e.Revision == 0 {
		return t, false, err
	}
	t, err = parseTicket(e.Value)
	return t, err == nil, err
}

func parseTicket(b []byte) (t storedTicket, err error) {
	if err := json.Unmarshal(b, &t); err != nil {
		return t, fmt.Errorf("stored ticket: %w", err)
	}
	return t, nil
}

// putTickets takes a keeper's word for its invites. A hash that another
// keeper has registered stays that one's.
func (h *Hub) putTickets(network config.NetworkKey, keeper config.NodeKey, tickets []signaling.Ticket) error {
	now := time.Now()
	byHash := make(map[string]signaling.TicketState)
	var keys [][]byte
	for _, t := range tickets {
		if len(t.Hash) != sha256.Size || !validState(t.State) {
			return refuse(signaling.CodeProtocol, "ticket: not well formed")
		}
		if _, ok := byHash[string(t.Hash)]; !ok {
			keys = append(keys, t.Hash)
		}
		byHash[string(t.Hash)] = t.State
	}
	var full error
	err := update(h.store, network, tableTickets, keys, func(current []Entry) []Entry {
		var changed []Entry
		added := 0
		for _, e := range current {
			t := storedTicket{Keeper: keeper}
			if e.Revision == 0 {
				added++
			} else if old, err := parseTicket(e.Value); err == nil {
				t = old
			}
			if state := byHash[string(e.Key)]; t.Keeper == keeper && t.State != state {
				t.State, t.Changed = state, now.Unix()
				e.Value, _ = json.Marshal(t) // strings and numbers only
				changed = append(changed, e)
			}
		}
		if added > 0 {
			var old []Entry
			if old, full = h.oldTickets(network, keeper, added, byHash, now); full != nil {
				return nil
			}
			changed = append(changed, old...)
		}
		return changed
	})
	if full != nil {
		return full
	}
	return err
}

// oldTickets finds the keeper's closed invites to forget, except those it has
// just named, and refuses more than it may have.
func (h *Hub) oldTickets(network config.NetworkKey, keeper config.NodeKey, added int, named map[string]signaling.TicketState, now time.Time) ([]Entry, error) {
	entries, _, err := h.store.After(network, tableTickets, 0, 0)
	if err != nil {
		return nil, err
	}
	var old []Entry
	count := added
	for _, e := range entries {
		t, err := parseTicket(e.Value)
		if err != nil || t.Keeper != keeper {
			continue
		}
		_, isNamed := named[string(e.Key)]
		if !isNamed && t.State != signaling.TicketOpen && now.Unix()-t.Changed > int64(ticketMemory/time.Second) {
			e.Value = nil
			old = append(old, e)
			continue
		}
		count++
	}
	if count > maxTickets {
		return nil, refuse(signaling.CodeLimit, "more than %d invites", maxTickets)
	}
	return old, nil
}

func validState(s signaling.TicketState) bool {
	switch s {
	case signaling.TicketOpen, signaling.TicketUsed, signaling.TicketExpired, signaling.TicketRevoked:
		return true
	}
	return false
}

// dropTickets forgets the invites of a keeper that may admit nobody any more.
// Whoever comes with one is told that there is none.
func (h *Hub) dropTickets(network config.NetworkKey, keeper config.NodeKey) error {
	entries, _, err := h.store.After(network, tableTickets, 0, 0)
	if err != nil {
		return err
	}
	var drop []Entry
	for _, e := range entries {
		if t, err := parseTicket(e.Value); err == nil && t.Keeper == keeper {
			e.Value = nil
			drop = append(drop, e)
		}
	}
	if len(drop) == 0 {
		return nil
	}
	return h.store.Put(network, tableTickets, drop)
}
