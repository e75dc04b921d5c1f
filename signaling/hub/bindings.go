package hub

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// bindings are the permissions and channels that an allocation has now (RFC
// 8656 sections 9 and 12). pion/turn owns them and says each that comes or
// goes; a renewal is no event. Packets are forwarded by this copy, looked at
// once per run: what is deleted here forwards nothing from then on.
//
// It is safe for concurrent use. Its lock is shared by nobody but those that
// send to or from this allocation.
type bindings struct {
	mu        sync.RWMutex // guards what follows
	closed    bool
	permitted map[netip.Addr]struct{}
	channels  map[uint16]*channel
	peers     map[netip.AddrPort]*channel
}

type channel struct {
	number uint16
	peer   netip.AddrPort
	relay  atomic.Pointer[relayConn] // the peer, if last seen to be a relay of this hub
}

func newBindings() *bindings {
	return &bindings{
		permitted: make(map[netip.Addr]struct{}),
		channels:  make(map[uint16]*channel),
		peers:     make(map[netip.AddrPort]*channel),
	}
}

func (b *bindings) permit(a netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.permitted[a] = struct{}{}
}

func (b *bindings) forbid(a netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.permitted, a)
}

func (b *bindings) bind(number uint16, peer netip.AddrPort) {
	ch := &channel{number: number, peer: peer}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.channels[number], b.peers[peer] = ch, ch
}

func (b *bindings) unbind(number uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ch := b.channels[number]; ch != nil {
		delete(b.channels, number)
		delete(b.peers, ch.peer)
	}
}

// close ends them all. It is idempotent.
func (b *bindings) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

// out is the channel that the client may send on, or nil. A channel outlives
// its permission where only the latter has expired, and carries nothing then:
// pion/turn would still send on it.
func (b *bindings) out(number uint16) *channel {
	b.mu.RLock()
	defer b.mu.RUnlock()
	ch := b.channels[number]
	if ch == nil || !b.permittedLocked(ch.peer.Addr()) {
		return nil
	}
	return ch
}

// in says whether the peer may send to the client, and on which channel; 0:
// it has none.
func (b *bindings) in(peer netip.AddrPort) (number uint16, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if !b.permittedLocked(peer.Addr()) {
		return 0, false
	}
	if ch := b.peers[peer]; ch != nil {
		number = ch.number
	}
	return number, true
}

func (b *bindings) permittedLocked(a netip.Addr) bool {
	_, ok := b.permitted[a]
	return ok && !b.closed
}
