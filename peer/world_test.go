package peer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/turn/v5"
)

// A world is a lab on an internet of its own, in which all that is said of networks
// in issue 5 can happen: NATs forget and get new addresses, machines move to other
// networks, links and servers die and come back, packets are late, lost, doubled and
// overtaken. It is also several times as fast as vnet.
//
//	relays .1, .2 ── WAN ── NAT 203.0.113.10+n ── LAN 192.168.n.0/24 ── nodes .1, .2
type world struct {
	*lab
	rand   *rand.Rand
	relays map[netip.AddrPort]*turn.Server

	mu      sync.Mutex // guards all below
	plugs   map[netip.AddrPort]*plug
	routers map[netip.Addr]*router
	nets    int // made so far
	weather weather
}

// weather is what happens to packets between networks.
type weather struct {
	delay  time.Duration
	jitter time.Duration // up to so much more; later packets overtake earlier ones
	loss   float64
	twice  float64 // so many arrive twice
	far    map[netip.Addr]time.Duration
	drop   func(from, to netip.AddrPort, b []byte) bool // nil: nothing
}

// router is the NAT of a network.
type router struct {
	addr      netip.Addr
	symmetric bool // a mapping per destination
	open      bool // does not filter
	next      uint16
	out       map[flowKey]*mapping
	in        map[uint16]*mapping // by port
}

type flowKey struct{ local, to netip.AddrPort }

type mapping struct {
	local   netip.AddrPort
	port    uint16
	used    time.Time
	allowed map[netip.AddrPort]bool
}

// mappingFor is how long a mapping lasts that nothing leaves by.
const mappingFor = 30 * time.Second

// plug is a socket. It implements net.PacketConn.
type plug struct {
	world  *world
	queue  chan datagram
	closed chan struct{}
	once   sync.Once

	// Guarded by the world's mutex.
	addr   netip.AddrPort
	router *router // nil: it stands on the WAN
	down   bool
}

var relay1, relay2 = hubAddr, netip.MustParseAddrPort("203.0.113.2:3478")

// inWorld runs f in a world with one relay, the hub's.
func inWorld(t *testing.T, seed uint64, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			lab: newLab(t), rand: rand.New(rand.NewPCG(seed, 5)), relays: make(map[netip.AddrPort]*turn.Server),
			plugs: make(map[netip.AddrPort]*plug), routers: make(map[netip.Addr]*router), weather: weather{delay: 4 * hop},
		}
		w.raise(relay1)
		defer func() {
			w.stop()
			for at := range w.relays {
				w.kill(at)
			}
		}()
		f(w)
	})
}

// raise starts a relay at an address.
func (w *world) raise(at netip.AddrPort) {
	w.t.Helper()
	s, err := turn.NewServer(turn.ServerConfig{
		Realm: "lab",
		AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
			return "user", turn.GenerateAuthKey(a.Username, a.Realm, "secret"), true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: w.listen(at, nil), RelayAddressGenerator: relayed{w, at.Addr()}}},
		LoggerFactory:     quiet,
	})
	w.must(err)
	w.relays[at] = s
}

// kill ends a relay, and all that it has.
func (w *world) kill(at netip.AddrPort) {
	w.must(w.relays[at].Close())
	delete(w.relays, at)
}

// relayed gives a relay its relayed addresses.
type relayed struct {
	w    *world
	addr netip.Addr
}

func (relayed) Validate() error { return nil }

func (r relayed) AllocatePacketConn(turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	w := r.w.listen(netip.AddrPortFrom(r.addr, 0), nil)
	return w, w.LocalAddr(), nil
}

func (relayed) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	panic("TCP")
}

func (relayed) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { panic("TCP") }

// network makes a LAN with a NAT, and returns how the addresses in it begin.
func (w *world) network(symmetric, open bool) (r *router, prefix string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nets++
	r = &router{
		addr: netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + w.nets)}), symmetric: symmetric, open: open,
		next: 50000, out: make(map[flowKey]*mapping), in: make(map[uint16]*mapping),
	}
	w.routers[r.addr] = r
	return r, fmt.Sprintf("192.168.%d.", w.nets)
}

// listen opens a socket; with port 0 one that is free.
func (w *world) listen(at netip.AddrPort, r *router) *plug {
	w.mu.Lock()
	defer w.mu.Unlock()
	for port := uint16(50000); at.Port() == 0 || w.plugs[at] != nil; port++ {
		at = netip.AddrPortFrom(at.Addr(), port)
	}
	s := &plug{world: w, queue: make(chan datagram, 512), closed: make(chan struct{}), addr: at, router: r}
	w.plugs[at] = s
	return s
}

// machine makes a node at an address behind a NAT; nil: on the WAN.
func (w *world) machine(r *router, addr string, servers ...netip.AddrPort) *node {
	at := netip.AddrPortFrom(netip.MustParseAddr(addr), nodePort)
	return w.nodeOver(w.listen(at, r), at, func(u *Underlay) {
		var list []Server
		for _, s := range servers {
			list = append(list, Server{Addr: s, Username: "u-" + addr, Password: "secret"})
		}
		u.SetServers(list)
	})
}

// renumber gives a node another address in its network.
func (w *world) renumber(n *node, addr string) {
	s := n.pc.(*plug)
	w.mu.Lock()
	delete(w.plugs, s.addr)
	s.addr = netip.AddrPortFrom(netip.MustParseAddr(addr), nodePort)
	w.plugs[s.addr] = s
	w.mu.Unlock()
	n.underlay.SetAddresses([]netip.Addr{s.addr.Addr()})
}

// move leads a node's packets through another NAT. It keeps its address.
func (w *world) move(n *node, r *router) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n.pc.(*plug).router = r
}

// cut takes nodes off their networks, or puts them on again.
func (w *world) cut(is bool, nodes ...*node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range nodes {
		n.pc.(*plug).down = is
	}
}

// change changes the weather.
func (w *world) change(f func(*weather)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.weather)
}

// flush has a NAT forget its mappings; new ones get new ports.
func (w *world) flush(r *router) {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(r.in)
	clear(r.out)
}

// readdress gives a NAT another public address.
func (w *world) readdress(r *router) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.routers, r.addr)
	w.nets++
	r.addr = netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + w.nets)})
	w.routers[r.addr] = r
	clear(r.in)
	clear(r.out)
}

// leave translates what a NAT sends.
func (r *router) leave(local, to netip.AddrPort, now time.Time) netip.AddrPort {
	k := flowKey{local: local}
	if r.symmetric {
		k.to = to
	}
	m := r.out[k]
	if m == nil || now.Sub(m.used) >= mappingFor {
		r.next++
		m = &mapping{local: local, port: r.next, allowed: make(map[netip.AddrPort]bool)}
		r.out[k], r.in[m.port] = m, m
	}
	m.used, m.allowed[to] = now, true
	return netip.AddrPortFrom(r.addr, m.port)
}

// enter says for whom a packet is that comes to a NAT, if it lets it in.
func (r *router) enter(from netip.AddrPort, port uint16, now time.Time) (local netip.AddrPort, ok bool) {
	m := r.in[port]
	if m == nil || now.Sub(m.used) >= mappingFor || !r.open && !m.allowed[from] {
		return local, false
	}
	return m.local, true
}

// WriteTo sends a datagram on its way.
func (s *plug) WriteTo(b []byte, addr net.Addr) (int, error) {
	w, now, to := s.world, time.Now(), canonical(addr.(*net.UDPAddr).AddrPort())
	w.mu.Lock()
	defer w.mu.Unlock()
	from, x := s.addr, &w.weather
	near := w.plugs[to]
	delay := x.delay + x.far[to.Addr()]
	switch {
	case s.down:
		return len(b), nil
	case near != nil && s.router != nil && near.router == s.router:
		delay = hop
	case s.router != nil && (to.Addr().IsPrivate() || to.Addr() == s.router.addr): // no hairpin
		return len(b), nil
	case s.router != nil:
		from = s.router.leave(from, to, now)
	default:
		delay += x.far[from.Addr()]
	}
	if x.drop != nil && x.drop(from, to, b) {
		return len(b), nil
	}
	copies := 1
	if w.rand.Float64() < x.twice {
		copies = 2
	}
	for range copies {
		if w.rand.Float64() < x.loss {
			continue
		}
		late := delay
		if x.jitter > 0 {
			late += time.Duration(w.rand.Int64N(int64(x.jitter)))
		}
		w.later(late, bytes.Clone(b), from, to)
	}
	return len(b), nil
}

// later has a datagram arrive after a while.
func (w *world) later(d time.Duration, b []byte, from, to netip.AddrPort) {
	time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		at := to
		if r := w.routers[to.Addr()]; r != nil {
			at, _ = r.enter(from, to.Port(), time.Now())
		}
		s := w.plugs[at]
		if s == nil || s.down || at == to && s.router != nil && !from.Addr().IsPrivate() {
			return
		}
		select {
		case s.queue <- datagram{b, from}:
		default:
		}
	})
}

// ReadFrom implements net.PacketConn.
func (s *plug) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-s.closed:
		return 0, nil, net.ErrClosed
	case d := <-s.queue:
		return copy(b, d.b), net.UDPAddrFromAddrPort(d.from), nil
	}
}

// LocalAddr implements net.PacketConn.
func (s *plug) LocalAddr() net.Addr {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return net.UDPAddrFromAddrPort(s.addr)
}

// Close implements net.PacketConn.
func (s *plug) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.world.mu.Lock()
		defer s.world.mu.Unlock()
		if s.world.plugs[s.addr] == s {
			delete(s.world.plugs, s.addr)
		}
	})
	return nil
}

// SetDeadline does nothing: who reads here ends with Close.
func (s *plug) SetDeadline(time.Time) error      { return nil }
func (s *plug) SetReadDeadline(time.Time) error  { return nil }
func (s *plug) SetWriteDeadline(time.Time) error { return nil }

// isRelay says whether an address is one of the relays'.
func isRelay(a netip.Addr) bool {
	return slices.Contains([]netip.Addr{relay1.Addr(), relay2.Addr()}, a)
}

// straight is data between two nodes that no relay carries.
func straight(from, to netip.AddrPort, b []byte) bool {
	return isData(b) && !isRelay(from.Addr()) && !isRelay(to.Addr())
}
