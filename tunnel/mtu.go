package tunnel

import (
	"log/slog"
	"net/netip"
	"sync"

	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tun"
)

// wireGuardHeaders is what WireGuard puts around an inner packet, in bytes: a
// header and an authentication tag of 16 each (whitepaper, section 5.4.6).
const wireGuardHeaders = 16 + 16

// The base of the paths is that of the tunnel.
var _ = [1]struct{}{}[peer.BasePayload-tun.BaseMTU-wireGuardHeaders]

// setMTU is what memberMTU needs of *tun.Interface.
type setMTU func(addrs []netip.Addr, mtu int) error

// memberMTU is the MTU of a member's addresses: what its path is proved to
// carry. The session sets it, the node moves it when the addresses change. Safe
// for concurrent use.
type memberMTU struct {
	set setMTU
	log *slog.Logger

	mu    sync.Mutex // guards all below, and is held while routes change
	addrs []netip.Addr
	mtu   int
	over  bool // close was called
}

func newMemberMTU(set setMTU, addrs []netip.Addr, log *slog.Logger) *memberMTU {
	return &memberMTU{set: set, addrs: addrs, log: log, mtu: tun.BaseMTU}
}

// carries takes the largest datagram that the path carries, in bytes above UDP.
func (m *memberMTU) carries(payload int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mtu = payload - wireGuardHeaders
	m.applyLocked(m.mtu)
}

// close takes the routes back: what the next path carries is not known.
func (m *memberMTU) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mtu != tun.BaseMTU {
		m.applyLocked(tun.BaseMTU)
	}
	m.over = true
}

// move takes the member's new addresses.
func (m *memberMTU) move(addrs []netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applyLocked(tun.BaseMTU)
	m.addrs = addrs
	m.applyLocked(m.mtu)
}

func (m *memberMTU) applyLocked(mtu int) {
	if m.over {
		return
	}
	if err := m.set(m.addrs, mtu); err != nil {
		m.log.Warn("MTU not set", "err", err)
	}
}

// get returns the MTU of inner packets, in bytes.
func (m *memberMTU) get() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mtu
}
