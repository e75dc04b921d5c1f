package hub

import (
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// maxPermissions of one allocation at a time, each for one address: all
	// members of a network of 1,000 nodes and as many again. It bounds memory.
	maxPermissions = 2048

	// maxChannels of one allocation at a time: one to each member of a network
	// of 1,000 nodes. pion/turn looks channels up in a list for each packet that
	// it forwards, which are those on none: measured, 1,024 cost it 7 µs, and
	// 16,384, as many as there are, would cost 115.
	maxChannels = 1024

	permissionLife = 5 * time.Minute  // RFC 8656 section 9
	channelLife    = 10 * time.Minute // RFC 8656 section 12
)

// permit is a front's PermissionHandler. It is asked for each address of a
// CreatePermission, ChannelBind or Connect, new or not, by the goroutine that
// has just read the request. It sees no port: a permission for the hub's own
// relays says nothing yet, see relayConn.WriteTo.
func (f *front) permit(src net.Addr, peer net.IP) bool {
	addr, ok := netip.AddrFromSlice(peer)
	if !ok {
		return false
	}
	r := f.relay
	a := f.allocation(addrPort(src))
	if a == nil {
		return false
	}
	allowed := r.admitted.allows(a.owner.network, addr)
	if r.isOwn(addr) {
		allowed = r.announces(addr)
	}
	if !allowed {
		r.drops.permissions.Add(1)
		r.log.Debug("relay permission refused", "network", a.owner.network.String(), "peer", a.owner.node.String(), "to", addr.String())
		return false
	}
	now := time.Now()
	channel, binds := channelOf(f.request)
	if !a.peers.take(addr, now) || binds && !a.channels.take(channel, now) {
		r.drops.tooMany.Add(1)
		return false
	}
	return true
}

// announces says whether relays of this hub have the address.
func (r *relay) announces(a netip.Addr) bool {
	_, ok := r.binds[a]
	return ok
}

// channelOf is the channel that a ChannelBind request asks for.
func channelOf(request []byte) (channel uint16, ok bool) {
	m := &stun.Message{Raw: request}
	if m.Decode() != nil || m.Type != stun.NewType(stun.MethodChannelBind, stun.ClassRequest) {
		return 0, false
	}
	v, err := m.Get(stun.AttrChannelNumber)
	if err != nil || len(v) < 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(v), true
}

// recent is a set of things that are each forgotten some time after they were
// last taken. It is not safe for concurrent use.
type recent[K comparable] struct {
	max   int
	life  time.Duration
	until map[K]time.Time
}

func newRecent[K comparable](limit int, life time.Duration) *recent[K] {
	return &recent[K]{max: limit, life: life, until: make(map[K]time.Time)}
}

// take puts k in, anew if it is there, and says whether there is room.
func (s *recent[K]) take(k K, now time.Time) bool {
	if _, ok := s.until[k]; !ok && len(s.until) >= s.max {
		maps.DeleteFunc(s.until, func(_ K, t time.Time) bool { return !now.Before(t) })
		if len(s.until) >= s.max {
			return false
		}
	}
	s.until[k] = now.Add(s.life)
	return true
}
