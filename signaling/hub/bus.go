package hub

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// Bus carries what is worth something only now: to the node's connection, at
// most once, in order per sender. It also knows who is there, and tells. It is
// safe for concurrent use. localBus implements it for one process.
type Bus interface {
	// Attach makes the node reachable until detach. An older seat of the
	// same node gets a CodeReplaced error and is no longer its seat. Where two
	// epochs of a node take turns both get a CodeCopied error, and the newer
	// gets no seat. A member is told who is online, in one or more Presence
	// messages, and the others of its network are told of it, then and when it
	// detaches.
	Attach(Seat) (detach func())

	// Publish hands the event to the node's seat. It says false when there
	// is none, or the seat does not take it.
	Publish(network config.NetworkKey, node config.NodeKey, e Event) bool
}

// Seat is one connection of a node.
type Seat struct {
	Network config.NetworkKey
	Node    config.NodeKey
	Online  signaling.Online // the node's word for its epoch
	Member  bool
	// Deliver takes an event or says false. It must neither block nor call
	// the Bus.
	Deliver func(Event) bool
	// Of is the connection, which is not told that it replaces itself; nil: of none.
	Of any
}

// Event is what one connection tells another.
type Event struct {
	Message  signaling.Message // nil with Admitted
	Joiner   bool              // the sender is a joiner
	Admitted bool              // the node's record was published
}

// presencePage is how many nodes one Presence names: some 220 bytes each,
// under signaling.MaxFrame.
const presencePage = 200

// localBus is the Bus of a hub that is one process.
type localBus struct {
	mu      sync.Mutex // guards what follows; held while delivering, which keeps the order
	seats   map[config.NetworkKey]map[config.NodeKey]*Seat
	arrived map[identity]arrivals
	pruned  time.Time // arrived was
}

func newLocalBus() *localBus {
	return &localBus{seats: make(map[config.NetworkKey]map[config.NodeKey]*Seat), arrived: make(map[identity]arrivals)}
}

func (b *localBus) Attach(s Seat) (detach func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.seats[s.Network][s.Node]
	if b.copiedLocked(&s) {
		s.Deliver(copiedEvent)
		if old != nil {
			old.Deliver(copiedEvent) // it leaves by itself
		}
		return func() {}
	}
	if b.seats[s.Network] == nil {
		b.seats[s.Network] = make(map[config.NodeKey]*Seat)
	}
	b.seats[s.Network][s.Node] = &s
	if old != nil && (s.Of == nil || old.Of != s.Of) {
		old.Deliver(Event{Message: &signaling.Error{Code: signaling.CodeReplaced, Message: "this node connected again"}})
	}
	b.greetLocked(&s)
	if s.Member && (old == nil || !old.Member || old.Online.Epoch != s.Online.Epoch) {
		b.tellLocked(&s, &signaling.Presence{Online: []signaling.Online{s.Online}})
	}
	return func() { b.detach(&s) }
}

var copiedEvent = Event{Message: &signaling.Error{
	Code: signaling.CodeCopied,
	Message: "this machine's state was copied, and the other one is connected too: " +
		"run `p2ptun leave` on the copy and join with a new invite, to give it an identity of its own",
}}

// copiedLocked notes the arrival and says whether the node has copies.
func (b *localBus) copiedLocked(s *Seat) bool {
	now := time.Now()
	if now.Sub(b.pruned) > copyWithin {
		b.pruned = now
		maps.DeleteFunc(b.arrived, func(_ identity, a arrivals) bool { return now.Sub(a[len(a)-1].at) > copyWithin })
	}
	node := identity{s.Network, s.Node}
	b.arrived[node] = b.arrived[node].add(s.Online.Epoch, now)
	if !b.arrived[node].ofCopies() {
		return false
	}
	delete(b.arrived, node) // the next time is a new one
	return true
}

func (b *localBus) detach(s *Seat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	network := b.seats[s.Network]
	if network[s.Node] != s {
		return // replaced, or detached before
	}
	delete(network, s.Node)
	if len(network) == 0 {
		delete(b.seats, s.Network)
	}
	if s.Member {
		b.tellLocked(s, &signaling.Presence{Offline: []config.NodeKey{s.Node}})
	}
}

// greetLocked tells the new seat which other members are online.
func (b *localBus) greetLocked(s *Seat) {
	online := []signaling.Online{}
	for _, other := range b.seats[s.Network] {
		if other.Member && other != s {
			online = append(online, other.Online)
		}
	}
	s.Deliver(Event{Message: &signaling.Presence{Online: online[:min(len(online), presencePage)]}})
	for len(online) > presencePage {
		online = online[presencePage:]
		s.Deliver(Event{Message: &signaling.Presence{Online: online[:min(len(online), presencePage)]}})
	}
}

// tellLocked tells all others of the network.
func (b *localBus) tellLocked(about *Seat, p *signaling.Presence) {
	for s := range maps.Values(b.seats[about.Network]) {
		if s != about {
			s.Deliver(Event{Message: p})
		}
	}
}

func (b *localBus) Publish(network config.NetworkKey, node config.NodeKey, e Event) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.seats[network][node]
	return s != nil && s.Deliver(e)
}

// onlyOf is the presence of one node, nil where p does not name it.
func onlyOf(p *signaling.Presence, node config.NodeKey) *signaling.Presence {
	var one signaling.Presence
	if i := slices.IndexFunc(p.Online, func(o signaling.Online) bool { return o.Node == node }); i >= 0 {
		one.Online = p.Online[i : i+1]
	}
	if slices.Contains(p.Offline, node) {
		one.Offline = []config.NodeKey{node}
	}
	if one.Online == nil && one.Offline == nil {
		return nil
	}
	return &one
}
