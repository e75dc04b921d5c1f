package tunnel

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// claimsPerPeer bounds what one peer can make this node remember. A session
	// has some ten remote addresses; a symmetric NAT shows a new port to each
	// generation.
	claimsPerPeer = 64

	// claimShards keeps a write from copying every claim of the node: at
	// 1,000 peers with ten addresses each a shard holds some forty.
	claimShards = 256
)

// claim is a source of WireGuard packets: an address, as seen directly or as
// told by a relay.
type claim struct {
	relay Relay // nil: direct
	from  netip.AddrPort
}

// shard spreads claims by what differs most between them.
func (c claim) shard() int {
	a := c.from.Addr().As16()
	return int(a[15]^a[14]^byte(c.from.Port())^byte(c.from.Port()>>8)) % claimShards
}

// claimed is a source that belongs to a peer.
type claimed struct {
	owner *Endpoint
	heard atomic.Int64 // when a transport message last came from it, Unix nanoseconds; 0: never
}

// claims maps sources to the peers they belong to. Readers take no lock: each
// shard is an immutable map behind an atomic pointer, and writers replace it.
type claims struct {
	shards [claimShards]atomic.Pointer[map[claim]*claimed]

	mu   sync.Mutex            // serialises writers
	held map[*Endpoint][]claim // each known endpoint's claims, oldest first
}

// find returns what is known of c, or nil. It allocates nothing.
func (t *claims) find(c claim) *claimed {
	m := t.shards[c.shard()].Load()
	if m == nil {
		return nil
	}
	return (*m)[c]
}

// lookup returns the owner of c, or nil. It allocates nothing.
func (t *claims) lookup(c claim) *Endpoint {
	if known := t.find(c); known != nil {
		return known.owner
	}
	return nil
}

// open makes e known, so that it can claim.
func (t *claims) open(e *Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held == nil {
		t.held = make(map[*Endpoint][]claim)
	}
	t.held[e] = nil
}

// add gives c to e, as its newest. Beyond the limit e's oldest claim ends, but
// not keep, nor c itself.
func (t *claims) add(e *Endpoint, c, keep claim) {
	if !c.from.IsValid() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	own, known := t.held[e]
	if !known {
		return
	}
	if owner := t.lookup(c); owner != nil && owner != e {
		t.held[owner] = without(t.held[owner], c)
	}
	t.put(c, e)
	own = append(without(own, c), c)
	if len(own) > claimsPerPeer {
		i := 0
		if own[i] == keep {
			i++
		}
		t.put(own[i], nil)
		own = slices.Delete(own, i, i+1)
	}
	t.held[e] = own
}

// remove ends e and all its claims.
func (t *claims) remove(e *Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.held[e] {
		t.put(c, nil)
	}
	delete(t.held, e)
}

// put replaces one entry of c's shard; a nil e removes it. Callers hold mu.
func (t *claims) put(c claim, e *Endpoint) {
	p := &t.shards[c.shard()]
	if t.lookup(c) == e {
		return
	}
	m := make(map[claim]*claimed, 1)
	if old := p.Load(); old != nil {
		m = maps.Clone(*old)
	}
	if e == nil {
		delete(m, c)
	} else {
		m[c] = &claimed{owner: e}
	}
	p.Store(&m)
}

// without returns list less c.
func without(list []claim, c claim) []claim {
	if i := slices.Index(list, c); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
