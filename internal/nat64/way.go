package nat64

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Name has IPv6 addresses behind a NAT64 alone: the resolver makes them (RFC 7050).
// The dot at the end keeps search domains out.
const Name = "ipv4only.arpa."

// Local is the machine's own IPv4 address, as far as who speaks through the NAT64 is
// concerned: one of those for that (RFC 7335). Nobody else can reach it.
var Local = netip.AddrFrom4([4]byte{192, 0, 0, 2})

// lookFor is how long the resolver may take.
const lookFor = 5 * time.Second

// Way is a machine's way to IPv4 through the NAT64 of its network, while there is
// one. The zero Way is none, and so is a nil one. Safe for concurrent use; Out and In
// take no lock and allocate nothing.
type Way struct {
	prefix atomic.Pointer[Prefix]
	mu     sync.Mutex // one looks at a time

	// Lookup is the system resolver's, nil, or a test's.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Prefix is the present one; zero: there is no NAT64, as far as is known.
func (w *Way) Prefix() Prefix {
	if w != nil {
		if p := w.prefix.Load(); p != nil {
			return *p
		}
	}
	return Prefix{}
}

// Out is where a datagram to an address is to be sent.
func (w *Way) Out(to netip.AddrPort) netip.AddrPort {
	if p := w.Prefix(); p.IsValid() && to.Addr().Is4() && p.represents(to.Addr()) {
		return netip.AddrPortFrom(p.Embed(to.Addr()), to.Port())
	}
	return to
}

// In is where a datagram has come from, and whether it came through the NAT64.
func (w *Way) In(from netip.AddrPort) (netip.AddrPort, bool) {
	if p := w.Prefix(); p.IsValid() {
		if a, ok := p.Extract(from.Addr()); ok {
			return netip.AddrPortFrom(a, from.Port()), true
		}
	}
	return from, false
}

// Forget says that the machine has IPv4 itself. It reports whether that is news.
func (w *Way) Forget() (changed bool) { return w.set(Prefix{}) }

func (w *Way) set(p Prefix) (changed bool) {
	changed = w.Prefix() != p
	w.prefix.Store(&p)
	return changed
}

// Seek asks the resolver for the prefix, and reports whether it is another than
// before. An error says that there was no answer: then all stays as it was.
func (w *Way) Seek(ctx context.Context) (changed bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	lookup := w.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	answers, err := lookup(ctx, "ip6", Name)
	var dns *net.DNSError
	if err != nil && !(errors.As(err, &dns) && dns.IsNotFound) {
		return false, fmt.Errorf("look up %s: %w", Name, err)
	}
	return w.set(Find(answers)), nil
}

// DialContext connects like a [net.Dialer]'s, and to a literal IPv4 address that the
// machine has no route to through the NAT64.
func (w *Way) DialContext(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().Is4() {
		return d.DialContext(ctx, network, addr)
	}
	if !w.Prefix().IsValid() {
		conn, err := d.DialContext(ctx, network, addr)
		if !errors.Is(err, syscall.ENETUNREACH) {
			return conn, err
		}
		if _, sought := w.Seek(ctx); sought != nil || !w.Prefix().IsValid() {
			return nil, err
		}
	}
	return d.DialContext(ctx, network, w.Out(at).String())
}
