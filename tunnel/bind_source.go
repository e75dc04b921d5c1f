package tunnel

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/p2ptun/p2ptun/internal/udpbatch"
)

// maxSources bounds the local addresses that are remembered. Privacy addresses
// of IPv6 come and go for as long as a node runs.
const maxSources = 256

// source is how to send from one local address. Immutable.
type source struct {
	local   netip.Addr
	ifindex int    // the interface it was last seen on; 0: routing decides
	control []byte // the control message that pins it; nil: the kernel chooses
}

// sourceMap is one immutable state of the sources.
type sourceMap map[netip.Addr]*source

// sources knows how to send from each local address. An address is looked up
// among the interfaces once; each packet that arrives for it corrects that; a
// send that fails because of it gives it up until the next such packet.
//
// Safe for concurrent use; readers take no lock.
type sources struct {
	m  atomic.Pointer[sourceMap]
	mu sync.Mutex // serialises writers
}

// current returns the present state, possibly nil, for comparing.
func (s *sources) current() *sourceMap { return s.m.Load() }

// find returns what is known of local.
func (s *sources) find(local netip.Addr) *source {
	if m := s.m.Load(); m != nil {
		return (*m)[local]
	}
	return nil
}

// get returns how to send from local: nil when that is the zero Addr.
func (s *sources) get(local netip.Addr) *source {
	if !local.IsValid() {
		return nil
	}
	if src := s.find(local); src != nil {
		return src
	}
	// Under the lock, so that a thousand peers do not all search.
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.find(local)
	if src == nil {
		src = newSource(local, interfaceOf(local))
		s.putLocked(src)
	}
	return src
}

// controlFor is the control message that sends from src to an address, nil where
// the kernel is to choose: src is nil, given up, or of the other family.
func (src *source) controlFor(to netip.Addr) []byte {
	if src == nil || src.local.Is4() != to.Is4() {
		return nil
	}
	return src.control
}

// learn takes note that a packet for local arrived on an interface. It
// allocates only when that is news.
func (s *sources) learn(local netip.Addr, ifindex int) {
	if !local.IsValid() || local.IsMulticast() || local.IsUnspecified() {
		return
	}
	if src := s.find(local); src != nil && src.ifindex == ifindex && src.control != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putLocked(newSource(local, ifindex))
}

// disown gives up sending from src's address, unless something newer is known
// of it.
func (s *sources) disown(src *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(src.local) == src {
		s.putLocked(&source{local: src.local})
	}
}

// reset forgets everything.
func (s *sources) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m.Store(nil)
}

// putLocked replaces one entry. The caller holds mu.
func (s *sources) putLocked(src *source) {
	next := sourceMap{}
	if old := s.m.Load(); old != nil && len(*old) < maxSources {
		maps.Copy(next, *old)
	}
	next[src.local] = src
	s.m.Store(&next)
}

// route prepares p for sending.
func (s *sources) route(p Path) *route {
	if p.Relay != nil {
		return &route{Path: p}
	}
	// The state is read after get, which may have changed it. A change in
	// between is rare and costs what the next one repairs.
	src := s.get(p.Local)
	return &route{Path: p, src: src, made: s.current()}
}

func newSource(local netip.Addr, ifindex int) *source {
	return &source{local: local, ifindex: ifindex, control: udpbatch.Source(local, ifindex)}
}

// interfaceOf returns the index of the interface that has the address, or 0.
// Without it, a machine with two default routes would send from one
// interface's address through the other.
func interfaceOf(a netip.Addr) int {
	list, err := net.Interfaces()
	if err != nil {
		return 0
	}
	for _, i := range list {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, p := range addrs {
			n, ok := p.(*net.IPNet)
			if !ok {
				continue
			}
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == a {
				return i.Index
			}
		}
	}
	return 0
}

// isSourceError reports whether a send may have failed because its source
// address or interface is gone.
func isSourceError(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EINVAL, syscall.EADDRNOTAVAIL, syscall.ENODEV, syscall.ENXIO,
		syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
