package hub

import (
	"net/netip"
	"sync"

	"github.com/p2ptun/p2ptun/config"
)

// admitted are the addresses that each network's members come from now: of
// their WebSockets with no proxy in front, and of their TURN allocations.
// Nothing else outside of the hub may be a relay's peer (RFC 8656 section 9.1
// leaves this to the server). It is safe for concurrent use.
type admitted struct {
	allowPrivate  bool
	allowLoopback bool // tests: all of their members are on one machine

	mu        sync.Mutex // guards what follows
	byNetwork map[config.NetworkKey]map[netip.Addr]int
	all       map[netip.Addr]int // of any network
}

func newAdmitted(allowPrivate bool) *admitted {
	return &admitted{allowPrivate: allowPrivate, byNetwork: make(map[config.NetworkKey]map[netip.Addr]int), all: make(map[netip.Addr]int)}
}

// hold counts the address until release, which does nothing the second time.
func (a *admitted) hold(network config.NetworkKey, addr netip.Addr) (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	addrs := a.byNetwork[network]
	if addrs == nil {
		addrs = make(map[netip.Addr]int)
		a.byNetwork[network] = addrs
	}
	addrs[addr]++
	a.all[addr]++
	return sync.OnceFunc(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if addrs[addr]--; addrs[addr] == 0 {
			delete(addrs, addr)
		}
		if len(addrs) == 0 {
			delete(a.byNetwork, network)
		}
		if a.all[addr]--; a.all[addr] == 0 {
			delete(a.all, addr)
		}
	})
}

// known says whether a member of any network comes from the address.
func (a *admitted) known(addr netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[addr] > 0
}

// formAllowed says whether an address of this form may be sent to at all.
func (a *admitted) formAllowed(addr netip.Addr) bool {
	return ordinary(addr, a.allowPrivate) || a.allowLoopback && addr.IsLoopback()
}

// allows says whether a member of the network comes from the address.
func (a *admitted) allows(network config.NetworkKey, addr netip.Addr) bool {
	if !a.formAllowed(addr) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byNetwork[network][addr] > 0
}
