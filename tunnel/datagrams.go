package tunnel

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"golang.org/x/time/rate"
)

// What one member's datagrams may bring, in bytes: from addresses that have proved
// to be its own, and from others, where it may be somebody who repeats what it
// has sent before. Of the others there are limits for each address and for all.
const (
	provedRate  = 4 << 20 // per second
	provedBurst = 4 << 20
	sourceRate  = 64 << 10
	sourceBurst = 256 << 10
	unknownRate = 1 << 20 // of all sources that are not proved
	unknownSize = 4 << 20

	// sourceTable is how many limits there are for addresses, which share them
	// by a hash that nobody else knows.
	sourceTable = 256

	// maxArrived messages wait for the loop.
	maxArrived = 256
)

// arrival is a sealed message that came in datagrams, and from where.
type arrival struct {
	from   config.NodeKey
	sealed []byte
	by     claim
	size   int  // bytes of datagrams
	proved bool // the address is one where the member proved to be
}

// datagrams takes sealed messages out of datagrams. It knows every member by the
// tag of its datagrams: what strangers send costs a look into a map.
//
// Safe for concurrent use.
type datagrams struct {
	self    *signaling.Self
	private config.WireGuardPrivateKey
	log     *slog.Logger
	arrived chan arrival
	news    chan struct{} // holds one signal while there are members without keys

	strange atomic.Uint64 // datagrams of nobody
	over    atomic.Uint64 // beyond a limit

	table  sync.RWMutex // guards what follows
	byNode map[config.NodeKey]*pairing
	byTag  map[signaling.Tag][]*pairing
	byID   map[config.ID]*pairing
	wanted []*signaling.SignedRecord // the members

	mu         sync.Mutex // guards all below
	reassembly *signaling.Reassembly[claim]
	seed       maphash.Seed
	sources    [sourceTable]*rate.Limiter
	unknown    *rate.Limiter
}

// pairing is what datagrams between this node and a member are marked with.
type pairing struct {
	node      config.NodeKey
	wireGuard config.WireGuardKey
	keys      *signaling.DatagramKeys // nil: the member's key is of no use
	proved    *rate.Limiter           // nil: nothing came yet. Guarded by datagrams.mu
}

func newDatagrams(self *signaling.Self, private config.WireGuardPrivateKey, log *slog.Logger) *datagrams {
	return &datagrams{
		self: self, private: private, log: log,
		arrived: make(chan arrival, maxArrived), news: make(chan struct{}, 1),
		byNode: make(map[config.NodeKey]*pairing), byTag: make(map[signaling.Tag][]*pairing), byID: make(map[config.ID]*pairing),
		reassembly: signaling.NewReassembly[claim](), seed: maphash.MakeSeed(),
		unknown: rate.NewLimiter(unknownRate, unknownSize),
	}
}

// setMembers takes who may send datagrams. The keys of those who are new are made
// by run; who is gone is forgotten at once.
func (d *datagrams) setMembers(records []*signaling.SignedRecord) {
	member := make(map[config.NodeKey]config.WireGuardKey, len(records))
	for _, r := range records {
		member[r.Node] = r.WireGuard
	}
	d.table.Lock()
	defer d.table.Unlock()
	d.wanted = records
	for node, p := range d.byNode {
		if key, ok := member[node]; !ok || key != p.wireGuard {
			d.forgetLocked(p)
		}
	}
	signal(d.news)
}

func (d *datagrams) forgetLocked(p *pairing) {
	delete(d.byNode, p.node)
	delete(d.byID, p.node.ID())
	if p.keys == nil {
		return
	}
	tag := p.keys.In()
	if d.byTag[tag] = slices.DeleteFunc(slices.Clone(d.byTag[tag]), func(q *pairing) bool { return q == p }); len(d.byTag[tag]) == 0 {
		delete(d.byTag, tag)
	}
}

// run makes the keys with members, one after the other, until ctx ends.
func (d *datagrams) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.news:
		}
		d.table.RLock()
		wanted := d.wanted
		d.table.RUnlock()
		for _, r := range wanted {
			if ctx.Err() != nil {
				return
			}
			d.pairing(r)
		}
	}
}

// pairing returns what there is for a member, which is made if need be.
func (d *datagrams) pairing(r *signaling.SignedRecord) *pairing {
	d.table.RLock()
	p := d.byNode[r.Node]
	d.table.RUnlock()
	if p != nil && p.wireGuard == r.WireGuard {
		return p
	}
	p = &pairing{node: r.Node, wireGuard: r.WireGuard}
	var err error
	if p.keys, err = signaling.NewDatagramKeys(d.self, d.private, &r.Record); err != nil {
		d.log.Warn("no datagrams with a member", "peer", r.Name, "err", err)
	}
	d.table.Lock()
	defer d.table.Unlock()
	if !slices.ContainsFunc(d.wanted, func(w *signaling.SignedRecord) bool { return w.Node == r.Node && w.WireGuard == r.WireGuard }) {
		return p // it was removed meanwhile
	}
	if old := d.byNode[r.Node]; old != nil {
		if old.wireGuard == r.WireGuard {
			return old
		}
		d.forgetLocked(old)
	}
	d.byNode[r.Node], d.byID[r.Node.ID()] = p, p
	if p.keys != nil {
		tag := p.keys.In()
		d.byTag[tag] = append(slices.Clone(d.byTag[tag]), p)
	}
	return p
}

// named is the member with an ID.
func (d *datagrams) named(id config.ID) (config.NodeKey, bool) {
	d.table.RLock()
	defer d.table.RUnlock()
	if p := d.byID[id]; p != nil {
		return p.node, true
	}
	return config.NodeKey{}, false
}

// take takes a datagram that came by a claim's address, which is owner's or, where
// that is nil, nobody's. It does not keep b.
func (d *datagrams) take(b []byte, by claim, owner *Endpoint) {
	tag, ok := signaling.DatagramTag(b)
	d.table.RLock()
	all := d.byTag[tag]
	d.table.RUnlock()
	if !ok {
		all = nil
	}
	for _, p := range all {
		if f, ok := p.keys.Open(b); ok {
			d.add(p, f, len(b), by, owner != nil && owner.node == p.node)
			return
		}
	}
	d.strange.Add(1)
}

// add takes a fragment that opened.
func (d *datagrams) add(p *pairing, f signaling.Fragment, size int, by claim, proved bool) {
	now := time.Now()
	d.mu.Lock()
	if !d.admitsLocked(now, p, size, by, proved) {
		d.mu.Unlock()
		d.over.Add(1)
		return
	}
	sealed, came := d.reassembly.Add(now, signaling.Origin[claim]{Tag: p.keys.In(), From: by}, f, size)
	d.mu.Unlock()
	if sealed == nil {
		return
	}
	select {
	case d.arrived <- arrival{p.node, sealed, by, came, proved}:
	default:
		d.over.Add(1)
	}
}

func (d *datagrams) admitsLocked(now time.Time, p *pairing, size int, by claim, proved bool) bool {
	if proved {
		if p.proved == nil {
			p.proved = rate.NewLimiter(provedRate, provedBurst)
		}
		return p.proved.AllowN(now, size)
	}
	l := &d.sources[d.bucket(by.from.Addr())]
	if *l == nil {
		*l = rate.NewLimiter(sourceRate, sourceBurst)
	}
	return (*l).AllowN(now, size) && d.unknown.AllowN(now, size)
}

// bucket is the limit that an address falls under; an IPv6 source has a /64.
func (d *datagrams) bucket(a netip.Addr) uint64 {
	b, n := a.As16(), 16
	if a.Is6() {
		n = 8
	}
	return maphash.Bytes(d.seed, b[:n]) % sourceTable
}

// records are those of all members.
func (n *Node) records() []*signaling.SignedRecord {
	all := make([]*signaling.SignedRecord, 0, len(n.members))
	for _, m := range n.members {
		all = append(all, m.record)
	}
	return all
}
