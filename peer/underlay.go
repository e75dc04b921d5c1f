package peer

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Socket sends datagrams from the node's shared UDP sockets. It is safe for
// concurrent use and never blocks on the network. An error means that this
// datagram did not leave, no more.
type Socket interface {
	// SendTo sends b to the address to, from the address local; when local
	// is zero the kernel chooses. It does not keep b.
	SendTo(b []byte, local netip.Addr, to netip.AddrPort) error

	// SendJoined gives datagrams of one size, but for the last, which may be
	// shorter, to the kernel as one (UDP GSO), whatever SetJoining said. The
	// error is errors.ErrUnsupported where that is not to be had.
	SendJoined(bs [][]byte, to netip.AddrPort) error

	// SetJoining says whether what is sent to a family of addresses may be
	// joined.
	SetJoining(ipv4, may bool)

	// Probe is SendTo for a datagram that may not be fragmented, here or on
	// the way. The error is syscall.EMSGSIZE for one that no link of this
	// machine to there carries whole.
	Probe(b []byte, local netip.Addr, to netip.AddrPort) error
}

// UnderlayConfig is what an Underlay needs. Socket and Port are required.
type UnderlayConfig struct {
	Socket Socket
	Port   uint16 // the socket's local port
	Log    *slog.Logger

	// OnRelayed takes a packet that came through r from the peer's address
	// from and is not STUN. It must not block or keep b. Nil: dropped.
	OnRelayed func(r *Relay, from netip.AddrPort, b []byte)

	// Allow says whether an address may be a candidate, local or remote; it
	// is false for addresses of the overlay itself, or tunnels would run in
	// tunnels. Nil: all are. It is called from any goroutine.
	Allow func(netip.Addr) bool

	// OnSuspect is told that a path seems to carry nothing, twice a second at most,
	// or that the NAT has another address for this node: then what passed through
	// it before is lost. From any goroutine; it must not block. Nil: nobody is told.
	OnSuspect func(remapped bool)

	// RelayOnly hides this node's addresses: it offers, and sends from,
	// nothing but relays.
	RelayOnly bool
}

// Underlay is the node's view of the network under the tunnel: its local
// addresses, reflexive addresses and relays. It hands incoming STUN to the
// sessions of the Peers. One per node; safe for concurrent use.
type Underlay struct {
	socket    Socket
	port      uint16
	log       *slog.Logger
	onRelayed func(*Relay, netip.AddrPort, []byte)
	allow     func(netip.Addr) bool
	onSuspect func(remapped bool)
	relayOnly bool

	drops   drops
	mux     *mux
	mapper  *mapper
	foreign atomic.Pointer[[]netip.Prefix] // as SetForeign was told
	blocked atomic.Bool                    // see SetBlocked

	reconcile chan struct{}                              // the servers changed, or how they stand
	servers   atomic.Pointer[map[netip.AddrPort]*server] // over UDP; immutable, replaced under mu

	mu        sync.RWMutex // guards all below
	byStream  map[streamKey]*server
	streaming bool // relays are reached by streams: UDP leads to none
	hosts     []netip.Addr
	observed  netip.Addr // where the hub has seen this node; zero: not known
	change    change
	suspected time.Time     // last
	remaps    *rate.Limiter // of changes that the NAT made
	found     map[*server]found
	watchers  map[*Peer]func()
	mirrors   map[netip.Addr]mirror // by host address; none after a change of the network
}

// change counts what has happened to the network under the node.
type change struct {
	count int
	why   string // the last
	at    time.Time
}

// found is what one server has given.
type found struct {
	reflexive       reflexive // over UDP
	relay           *Relay
	probed, settled bool // the first tries for each are over
	mangled         bool // datagrams that leave joined do not arrive there
}

// maxHosts bounds the host candidates of each address family: the list of
// maxCandidates has to have room for the others.
const maxHosts = 10

var zeroAddr netip.Addr

// NewUnderlay returns an Underlay without addresses or servers. It does
// nothing before Run but answer peers' checks.
func NewUnderlay(c UnderlayConfig) *Underlay {
	u := &Underlay{
		socket: c.Socket, port: c.Port, log: c.Log, onRelayed: c.OnRelayed,
		allow: c.Allow, onSuspect: c.OnSuspect, relayOnly: c.RelayOnly,
		reconcile: make(chan struct{}, 1),
		mapper:    newMapper(),
		found:     make(map[*server]found),
		watchers:  make(map[*Peer]func()),
		remaps:    rate.NewLimiter(rate.Every(remapEvery), remapBurst),
	}
	if u.onSuspect == nil {
		u.onSuspect = func(bool) {}
	}
	if u.log == nil {
		u.log = slog.New(slog.DiscardHandler)
	}
	u.servers.Store(new(map[netip.AddrPort]*server))
	u.mux = newMux(c.Socket, &u.drops)
	u.mux.mirrored = u.mirrored
	return u
}

// Run keeps the reflexive addresses and allocations of the servers until ctx
// ends; then it gives the allocations up and returns nil. Call it once.
func (u *Underlay) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work.Go(func() { u.keepMapping(ctx) })
	running := make(map[*server]*holding)
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		servers := u.allServers()
		for _, s := range servers {
			if running[s] == nil {
				h := &holding{standing: standing{server: s}}
				running[s] = h
				sctx, stop := context.WithCancel(ctx)
				h.forget = stop
				work.Go(func() { s.keep(sctx) })
			}
		}
		for s, h := range running {
			if !slices.Contains(servers, s) {
				h.set(ctx, false) // while its stream is open
				h.forget()
				delete(running, s)
			}
		}
		if again := u.hold(ctx, running); again > 0 {
			look.Reset(again)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			for _, h := range running {
				h.set(ctx, false)
			}
			return nil
		case <-u.reconcile:
		}
	}
}

// SetAddresses takes the node's local addresses, best first. Those that cannot
// be candidates are left out, and those beyond the tenth of a family. Peers are
// told of changes: changed says that they were.
func (u *Underlay) SetAddresses(addrs []netip.Addr) (changed bool) {
	var hosts []netip.Addr
	count := make(map[int]int) // by address length
	for _, a := range addrs {
		a = a.Unmap()
		if u.allowed(netip.AddrPortFrom(a, u.port)) && !slices.Contains(hosts, a) && count[a.BitLen()] < maxHosts {
			hosts = append(hosts, a)
			count[a.BitLen()]++
		}
	}
	// RFC 8421 section 4: IPv6 first, where a NAT is least likely.
	slices.SortStableFunc(hosts, func(a, b netip.Addr) int { return b.BitLen() - a.BitLen() })

	u.mu.Lock()
	changed = !slices.Equal(u.hosts, hosts)
	u.forgetLocked(hosts)
	u.hosts = hosts
	u.mirrors = nil
	u.mu.Unlock()
	if changed {
		u.look()
		signal(u.reconcile)
		u.notify()
	}
	return changed
}

// SetObserved takes the address that the hub has seen this node at. Most NATs keep
// the port, so it is a candidate under the socket's, until a STUN server has said
// what is so. IPv6 says nothing new: it is this node's own address, and perhaps a
// temporary one.
func (u *Underlay) SetObserved(addr netip.Addr) {
	u.mu.Lock()
	changed := u.observed != addr
	u.observed = addr
	u.mu.Unlock()
	if changed {
		u.notify()
	}
}

// SetForeign takes the networks that are no part of the network under the tunnel: of
// other overlays, of containers. What is there is no candidate, of this node or of a
// peer; a server may be.
func (u *Underlay) SetForeign(prefixes []netip.Prefix) { u.foreign.Store(&prefixes) }

// guessLocked is the candidate that SetObserved has given.
func (u *Underlay) guessLocked() (c Candidate, ok bool) {
	addr := netip.AddrPortFrom(u.observed, u.port)
	i := slices.IndexFunc(u.hosts, func(h netip.Addr) bool { return h.Is4() == u.observed.Is4() })
	if u.relayOnly || i < 0 || !addr.Addr().Is4() || !u.allowed(addr) {
		return c, false
	}
	return Candidate{Type: ServerReflexive, Addr: addr, Base: netip.AddrPortFrom(u.hosts[i], u.port)}, true
}

// Changed says that the network may be another though the addresses are the same:
// the default route has moved, the machine has slept. The servers are asked again,
// and each session is made anew; the old paths stay until the new ones carry
// traffic. why is for the log, as in "the default route has moved".
func (u *Underlay) Changed(why string) {
	u.mu.Lock()
	u.change = change{u.change.count + 1, why, time.Now()}
	u.mirrors = nil
	u.mu.Unlock()
	u.look()
	u.notify()
}

// A NAT that changes its mappings makes new sessions, but not as often as it likes:
// some never keep one for long, some have several addresses and take turns.
const (
	remapEvery = 2 * time.Minute
	remapBurst = 4

	// remapWith is how long after a change of the network a new mapping is part
	// of that, and how long after the first of a change of the NAT's the others
	// are part of it: each server sees it by itself.
	remapWith = 2 * time.Second
)

// remapped is told that a server sees this node at another address than before,
// though its own is the same.
func (u *Underlay) remapped() {
	now := time.Now()
	u.mu.RLock()
	known := !u.change.at.IsZero() && now.Sub(u.change.at) < remapWith
	u.mu.RUnlock()
	if known || !u.remaps.AllowN(now, 1) {
		return
	}
	u.Changed("the NAT's address has changed")
	u.onSuspect(true)
}

// wanted says whether there are sessions.
func (u *Underlay) wanted() bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return len(u.watchers) > 0
}

// look has the servers asked what they see of this node, and what they still
// have of it.
func (u *Underlay) look() {
	u.mapper.renew()
	for _, s := range u.allServers() {
		s.look()
	}
}

// suspectEvery is the least time between two looks because of paths that fail:
// these may be many at once.
const suspectEvery = 500 * time.Millisecond

// suspect is look, for a path that seems to carry nothing: the reason may be a NAT
// that has changed its mapping, which its servers can see.
func (u *Underlay) suspect(now time.Time) {
	u.mu.Lock()
	due := now.Sub(u.suspected) >= suspectEvery
	if due {
		u.suspected = now
	}
	u.mu.Unlock()
	if due {
		u.look()
		u.onSuspect(false)
	}
}

// changes returns the newest change.
func (u *Underlay) changes() change {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.change
}

// maxServers bounds the servers in use: whoever names them decides where this
// node sends to.
const maxServers = 12

// SetServers replaces the servers in use by the first 12 that can be one, and the
// first 16 over streams. One that stays keeps its allocation, whatever its new
// credentials: they are for the next one.
func (u *Underlay) SetServers(servers []Server) {
	u.mu.Lock()
	old, keep := *u.servers.Load(), make(map[netip.AddrPort]*server)
	oldStreams, keepStreams := u.byStream, make(map[streamKey]*server)
	for _, c := range servers {
		addr, stream := canonical(c.Addr), streamKey{c.Stream, c.IPv6}
		var s *server
		switch {
		case c.Stream != nil && len(keepStreams) < maxStreams:
			s = oldStreams[stream]
		case c.Stream == nil && len(keep) < maxServers && u.mayServe(addr):
			s = old[addr]
		default:
			continue
		}
		if s == nil {
			s = newServer(u, c)
			u.found[s] = found{probed: c.Stream != nil, settled: c.Stream != nil} // no stream may be needed
		}
		s.setCredentials(c.Username, c.Password)
		if c.Stream != nil {
			keepStreams[stream] = s
		} else {
			keep[addr] = s
		}
	}
	maps.DeleteFunc(u.found, func(s *server, _ found) bool { return keep[s.addr] != s && keepStreams[s.key()] != s })
	u.servers.Store(&keep)
	u.byStream = keepStreams
	u.mu.Unlock()
	signal(u.reconcile)
	signal(u.mapper.again)
	u.notify()
}

// streamKey is by what a server over a stream is known.
type streamKey struct {
	*Stream
	ipv6 bool
}

func (s *server) key() streamKey { return streamKey{s.stream, s.ipv6} }

// allServers are those in use.
func (u *Underlay) allServers() []*server {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return slices.Collect(maps.Keys(u.found))
}

// streams says whether relays are reached by streams.
func (u *Underlay) streams() bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.streaming
}

// setStreams notes whether they are. When UDP leads to a relay again while a tunnel
// leads over a stream, sessions are made anew without the streams' relays, so that both
// sides leave those.
func (u *Underlay) setStreams(streaming bool) {
	u.mu.Lock()
	changed, used, now := u.streaming != streaming, false, time.Now()
	u.streaming = streaming
	for s, f := range u.found {
		used = used || s.stream != nil && f.relay != nil && f.relay.carries(now)
	}
	u.mu.Unlock()
	switch {
	case changed && !streaming && used:
		u.Changed("relays can be reached over UDP again")
	case changed:
		u.notify()
	}
}

// Drops returns the counters of what was thrown away.
func (u *Underlay) Drops() Drops { return u.drops.snapshot() }

// watch has notify called, which must not block, after each change of the
// candidates; unwatch ends it.
func (u *Underlay) watch(p *Peer, notify func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.watchers[p] = notify
}

func (u *Underlay) unwatch(p *Peer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.watchers, p)
}

func (u *Underlay) notify() {
	u.mu.RLock()
	defer u.mu.RUnlock()
	for _, f := range u.watchers {
		f()
	}
}
