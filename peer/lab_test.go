package peer

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/pion/stun/v4"
	"github.com/pion/transport/v5/vnet"
	"github.com/pion/turn/v5"
)

// The lab is an internet in virtual time:
//
//	203.0.113.0/24 ──┬── hub .1 (STUN, TURN)
//	                 ├── public nodes .100+n
//	                 └── NAT .10+n ── 192.168.n.0/24 ── node .1
//
// Everything in it ends with its test's bubble, which also finds leaks: a
// bubble with a goroutine left does not end.
type lab struct {
	t       *testing.T
	wan     *vnet.Router
	hub     *vnet.Net
	turn    *turn.Server
	drop    atomic.Pointer[func(from, to netip.AddrPort, b []byte) bool] // on the WAN
	refuse  atomic.Pointer[func(netip.Addr) bool]                        // addresses that TURN servers refuse
	late    atomic.Pointer[map[netip.Addr]time.Duration]                 // what nodes send there takes so much longer
	mangle  atomic.Pointer[func(i int, joined [][]byte) bool]            // which of joined datagrams are lost; nil: none
	keeps   atomic.Bool                                                  // servers give a user the same relay again, as the hub does
	expired atomic.Bool                                                  // nobody's credentials are good for an allocation
	sites   int
	stops   []func()
	log     *slog.Logger
	over    chan struct{} // closed when the lab ends
}

// The NATs of the lab, in the terms of RFC 4787.
var (
	natFull      = &vnet.NATType{MappingBehavior: vnet.EndpointIndependent, FilteringBehavior: vnet.EndpointIndependent, MappingLifeTime: time.Minute}
	natPort      = &vnet.NATType{MappingBehavior: vnet.EndpointIndependent, FilteringBehavior: vnet.EndpointAddrPortDependent, MappingLifeTime: time.Minute}
	natSymmetric = &vnet.NATType{MappingBehavior: vnet.EndpointAddrPortDependent, FilteringBehavior: vnet.EndpointAddrPortDependent, MappingLifeTime: time.Minute}
)

var hubAddr = netip.MustParseAddrPort("203.0.113.1:3478")

// hop is the delay of each router.
const hop = 5 * time.Millisecond

// inLab runs f in a lab of its own. Nodes and the hub are stopped when it
// returns.
func inLab(t *testing.T, f func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		wan, err := vnet.NewRouter(&vnet.RouterConfig{CIDR: "203.0.113.0/24", MinDelay: hop, LoggerFactory: quiet})
		l.must(err)
		l.wan = wan
		l.hub = l.net(wan, hubAddr.Addr().String())
		wan.AddChunkFilter(func(c vnet.Chunk) bool {
			drop := l.drop.Load()
			from, to := c.SourceAddr().(*net.UDPAddr).AddrPort(), c.DestinationAddr().(*net.UDPAddr).AddrPort()
			return drop == nil || !(*drop)(canonical(from), canonical(to), c.UserData())
		})
		l.startTURN()
		l.stops = append(l.stops, func() { l.must(wan.Stop()) }, l.stopTURN)
		defer l.stop()
		l.must(wan.Start())
		f(l)
	})
}

var quiet = pionLog{slog.New(slog.DiscardHandler)}

func newLab(t *testing.T) *lab {
	l := &lab{t: t, log: slog.New(slog.DiscardHandler), over: make(chan struct{})}
	if testing.Verbose() {
		l.log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return l
}

func (l *lab) stop() {
	for i := len(l.stops) - 1; i >= 0; i-- {
		l.stops[i]()
	}
	close(l.over)
	synctest.Wait() // the last goroutines may still log
}

// after runs f after d, unless the lab ends before.
func (l *lab) after(d time.Duration, f func()) {
	go func() {
		select {
		case <-time.After(d):
			f()
		case <-l.over:
		}
	}()
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) net(r *vnet.Router, addrs ...string) *vnet.Net {
	l.t.Helper()
	n, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: addrs})
	l.must(err)
	l.must(r.AddNet(n))
	return n
}

func (l *lab) startTURN() {
	l.t.Helper()
	l.turn = l.serveTURN(l.hub, hubAddr)
}

// otherTURN makes a TURN server beside the hub's.
func (l *lab) otherTURN(addr string) netip.AddrPort {
	l.t.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr(addr), 3478)
	s := l.serveTURN(l.net(l.wan, addr), at)
	l.stops = append(l.stops, func() { l.must(s.Close()) })
	return at
}

func (l *lab) serveTURN(host *vnet.Net, at netip.AddrPort) *turn.Server {
	l.t.Helper()
	pc, err := host.ListenPacket("udp4", at.String())
	l.must(err)
	s, err := turn.NewServer(turn.ServerConfig{
		Realm: "lab",
		AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
			user := "user"
			if l.keeps.Load() {
				user = a.Username
			}
			return user, turn.GenerateAuthKey(a.Username, a.Realm, "secret"), a.Username != "nobody" && !(l.expired.Load() && a.Method == stun.MethodAllocate)
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: pc, RelayAddressGenerator: &generator{&turn.RelayAddressGeneratorStatic{
			RelayAddress: net.ParseIP(at.Addr().String()), Address: at.Addr().String(), Net: host,
		}, l}, PermissionHandler: func(_ net.Addr, peer net.IP) bool {
			ip, _ := netip.AddrFromSlice(peer)
			refuse := l.refuse.Load()
			return refuse == nil || !(*refuse)(ip.Unmap())
		}}},
		LoggerFactory: quiet,
	})
	l.must(err)
	return s
}

type generator struct {
	*turn.RelayAddressGeneratorStatic
	lab *lab
}

// AllocatePacketConn gives a user the port that follows from its name.
func (g *generator) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	if !g.lab.keeps.Load() {
		return g.RelayAddressGeneratorStatic.AllocatePacketConn(c)
	}
	h := fnv.New32()
	h.Write([]byte(c.UserID))
	pc, err := g.Net.ListenPacket("udp4", netip.AddrPortFrom(netip.MustParseAddr(g.Address), 50000+uint16(h.Sum32()%10000)).String())
	if err != nil {
		return nil, nil, err
	}
	return pc, pc.LocalAddr(), nil
}

func (l *lab) stopTURN() {
	if l.turn != nil {
		l.must(l.turn.Close())
		l.turn = nil
	}
}

// lose has the WAN drop what f says from now on; nil: nothing.
func (l *lab) lose(f func(from, to netip.AddrPort, b []byte) bool) {
	if f == nil {
		l.drop.Store(nil)
		return
	}
	l.drop.Store(&f)
}

// delay makes the way from nodes to some addresses longer.
func (l *lab) delay(by map[netip.Addr]time.Duration) { l.late.Store(&by) }

// direct is a packet between two nodes, without the hub.
func direct(from, to netip.AddrPort, _ []byte) bool {
	return from.Addr() != hubAddr.Addr() && to.Addr() != hubAddr.Addr()
}

// overOneRelay is a packet between a relay and a node that it is not of.
func overOneRelay(from, to netip.AddrPort, _ []byte) bool {
	return (from.Addr() == hubAddr.Addr()) != (to.Addr() == hubAddr.Addr()) && from != hubAddr && to != hubAddr
}

// toHub is a packet to the hub's server.
func toHub(_, to netip.AddrPort, _ []byte) bool { return to == hubAddr }

// site makes a LAN behind a NAT.
func (l *lab) site(nat *vnet.NATType) (*vnet.Router, string) {
	l.t.Helper()
	l.sites++
	prefix := fmt.Sprintf("192.168.%d.", l.sites)
	r, err := vnet.NewRouter(&vnet.RouterConfig{
		CIDR: prefix + "0/24", StaticIPs: []string{fmt.Sprintf("203.0.113.%d", 10+l.sites)},
		NATType: nat, MinDelay: hop, LoggerFactory: quiet,
	})
	l.must(err)
	l.must(l.wan.AddRouter(r))
	l.must(r.Start())
	return r, prefix
}

// node is a machine of the lab.
type node struct {
	lab      *lab
	name     string
	addr     netip.AddrPort
	host     *vnet.Net
	ports    uint16
	pc       net.PacketConn
	moved    atomic.Pointer[net.PacketConn] // what leaves leaves from here, see remap
	underlay *Underlay
	apart    atomic.Bool  // SetJoining said that nothing may be joined
	deaf     atomic.Bool  // drops everything that arrives
	mute     atomic.Bool  // drops everything that leaves
	link     atomic.Int64 // the largest payload that can leave whole
	narrow   atomic.Int64 // the largest payload that arrives whole

	mu   sync.Mutex
	got  map[string]time.Time // payloads received
	seen map[source]bool      // sources told by OnSource

	onData func(r *Relay, from netip.AddrPort, payload string) // takes what comes of the tunnel, too; nil: nobody does
}

type source struct {
	relay *Relay
	addr  netip.AddrPort
}

// behind makes a node behind a NAT of its own; nil makes it public.
func (l *lab) behind(nat *vnet.NATType, opts ...func(*UnderlayConfig)) *node {
	l.t.Helper()
	if nat == nil {
		l.sites++
		return l.nodeAt(l.wan, fmt.Sprintf("203.0.113.%d", 100+l.sites), opts...)
	}
	r, prefix := l.site(nat)
	return l.nodeAt(r, prefix+"1", opts...)
}

const nodePort = 41000

func (l *lab) nodeAt(r *vnet.Router, addr string, opts ...func(*UnderlayConfig)) *node {
	l.t.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr(addr), nodePort)
	host := l.net(r, addr)
	pc, err := host.ListenPacket("udp4", at.String())
	l.must(err)
	n := l.nodeOver(pc, at, func(u *Underlay) {
		u.SetServers([]Server{{Addr: hubAddr, Username: "u-" + addr, Password: "secret"}})
	}, opts...)
	n.host = host
	return n
}

// nodeOver makes a node of a socket.
func (l *lab) nodeOver(pc net.PacketConn, at netip.AddrPort, servers func(*Underlay), opts ...func(*UnderlayConfig)) *node {
	n := &node{lab: l, name: at.Addr().String(), addr: at, pc: pc, got: make(map[string]time.Time), seen: make(map[source]bool)}
	n.link.Store(8972)
	n.narrow.Store(1472)
	c := UnderlayConfig{
		Socket: n, Port: nodePort, Log: l.log.With("node", n.name),
		OnRelayed: func(r *Relay, from netip.AddrPort, b []byte) { n.record(r, from, b) },
	}
	for _, o := range opts {
		o(&c)
	}
	n.underlay = NewUnderlay(c)
	n.underlay.SetAddresses([]netip.Addr{n.addr.Addr()})
	servers(n.underlay)
	l.run(n.underlay.Run)
	go n.read(n.pc)
	l.stops = append(l.stops, func() { n.pc.Close() })
	return n
}

// run runs f until the lab ends.
func (l *lab) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			l.t.Errorf("run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	l.stops = append(l.stops, stop)
	return stop
}

// SendTo implements Socket.
func (n *node) SendTo(b []byte, _ netip.Addr, to netip.AddrPort) error {
	if n.mute.Load() {
		return nil
	}
	if late := n.lab.late.Load(); late != nil && (*late)[to.Addr()] > 0 {
		b := bytes.Clone(b)
		n.lab.after((*late)[to.Addr()], func() { _, _ = n.pc.WriteTo(b, net.UDPAddrFromAddrPort(to)) })
		return nil
	}
	pc := n.pc
	if moved := n.moved.Load(); moved != nil {
		pc = *moved
	}
	_, err := pc.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return err
}

// remap has the node, which must be public, seen from another port, as if a NAT had
// forgotten its mapping. Nothing gets in by the old one.
func (n *node) remap() {
	n.lab.t.Helper()
	old := n.pc
	if moved := n.moved.Load(); moved != nil {
		old = *moved
	}
	n.ports++
	pc, err := n.host.ListenPacket("udp4", netip.AddrPortFrom(n.addr.Addr(), nodePort+n.ports).String())
	n.lab.must(err)
	n.moved.Store(&pc)
	n.lab.must(old.Close())
	go n.read(pc)
	n.lab.stops = append(n.lab.stops, func() { pc.Close() })
}

// SendJoined implements Socket. The lab's network carries what is joined as it
// carries the rest, but for what it mangles.
func (n *node) SendJoined(bs [][]byte, to netip.AddrPort) error {
	for i, b := range bs {
		if mangle := n.lab.mangle.Load(); mangle != nil && (*mangle)(i, bs) {
			continue
		}
		if err := n.SendTo(b, zeroAddr, to); err != nil {
			return err
		}
	}
	return nil
}

// SetJoining implements Socket.
func (n *node) SetJoining(_, may bool) { n.apart.Store(!may) }

// Probe implements Socket: the path has an MTU, and so has the machine.
func (n *node) Probe(b []byte, local netip.Addr, to netip.AddrPort) error {
	if len(b) > int(n.link.Load()) {
		return syscall.EMSGSIZE
	}
	if len(b) > int(n.narrow.Load()) {
		return nil
	}
	return n.SendTo(b, local, to)
}

func (n *node) read(pc net.PacketConn) {
	b := make([]byte, 1<<16)
	for {
		k, from, err := pc.ReadFrom(b)
		if err != nil {
			return
		}
		if n.deaf.Load() {
			continue
		}
		if isData(b[:k]) {
			n.record(nil, from.(*net.UDPAddr).AddrPort(), b[:k])
			continue
		}
		local := n.pc.LocalAddr().(*net.UDPAddr).AddrPort()
		n.underlay.Handle(b[:k], canonical(local).Addr(), from.(*net.UDPAddr).AddrPort())
	}
}

// dataHeader makes a payload look like a WireGuard transport message.
var dataHeader = []byte{4, 0, 0, 0}

func isData(b []byte) bool { return bytes.HasPrefix(b, dataHeader) }

func (n *node) record(r *Relay, from netip.AddrPort, b []byte) {
	payload := string(bytes.TrimPrefix(b, dataHeader))
	n.mu.Lock()
	n.got[payload] = time.Now()
	onData := n.onData
	n.mu.Unlock()
	if onData != nil {
		onData(r, canonical(from), payload)
	}
}

func (n *node) received(payload string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.got[payload].IsZero()
}

// side is one end of a pair of peers.
type side struct {
	*node
	*Peer
	self, other member
	stop        func()

	sent atomic.Int32         // sealed messages
	run  atomic.Pointer[Peer] // the present one, for other goroutines

	mu    sync.Mutex // guards all below
	paths []Path
	sizes []int // as OnMTU was told
}

// link is the hub's signaling between two sides.
type link struct {
	a, b  *side
	delay time.Duration
	cut   atomic.Bool

	mu   sync.Mutex // guards pass, and is held while it runs
	pass passFunc
}

// passFunc decides on each message; late is an extra delay.
type passFunc func(from *side) (ok bool, late time.Duration)

// filter has f decide on each message from now on; nil passes all.
func (k *link) filter(f passFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pass = f
}

type pairOption func(a, b *Config)

// pair makes two nodes peers of each other, not online yet. Side a has the
// lower key: it offers, and controls.
func (l *lab) pair(na, nb *node, opts ...pairOption) *link {
	l.t.Helper()
	x, y := newMembers(l.t)
	k := &link{delay: hop, a: &side{node: na, self: x, other: y}, b: &side{node: nb, self: y, other: x}}
	ca, cb := k.config(k.a, k.b), k.config(k.b, k.a)
	ca.Controlling, ca.Offerer = true, true
	for _, o := range opts {
		o(&ca, &cb)
	}
	k.a.Peer, k.b.Peer = New(ca), New(cb)
	k.a.run.Store(k.a.Peer)
	k.b.run.Store(k.b.Peer)
	k.a.stop, k.b.stop = l.run(k.a.Run), l.run(k.b.Run)
	return k
}

// restart replaces the side's Peer, which must have ended, by that of another
// run.
func (k *link) restart(s, to *side, opts ...func(*Config)) {
	s.self.Epoch += 10
	c := k.config(s, to)
	c.Controlling, c.Offerer = s == k.a, s == k.a
	for _, o := range opts {
		o(&c)
	}
	s.Peer = New(c)
	s.run.Store(s.Peer)
	s.stop = s.lab.run(s.Run)
}

func (k *link) config(s, to *side) Config {
	return Config{
		Underlay: s.underlay, Pair: signaling.NewPair(s.self.Self, &s.other.record.Record), Log: s.lab.log.With("peer", to.name),
		OnPath: func(p Path) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.paths = append(s.paths, p)
		},
		OnMTU: func(payload int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.sizes = append(s.sizes, payload)
		},
		OnSource: func(r *Relay, a netip.AddrPort) {
			s.node.mu.Lock()
			defer s.node.mu.Unlock()
			s.seen[source{r, a}] = true
		},
		Send: func(sealed []byte) {
			s.sent.Add(1)
			ok, late := !k.cut.Load(), time.Duration(0)
			k.mu.Lock()
			if ok && k.pass != nil {
				ok, late = k.pass(s)
			}
			k.mu.Unlock()
			if ok {
				msg := bytes.Clone(sealed)
				s.lab.after(k.delay+late, func() { to.run.Load().Receive(msg) })
			}
		},
	}
}

// online lets both sides see each other.
func (k *link) online() {
	k.a.SetOnline(true, 2)
	k.b.SetOnline(true, 1)
}

// history is all paths so far.
func (s *side) history() []Path {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.paths)
}

// told is all that OnMTU was told so far.
func (s *side) told() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sizes)
}

// path is the newest path of the side.
func (s *side) path() (Path, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.paths) == 0 {
		return Path{}, false
	}
	return s.paths[len(s.paths)-1], true
}

// sendData sends a payload over the side's present path.
func (s *side) sendData(payload string) {
	p, ok := s.path()
	if !ok {
		return
	}
	b := append(bytes.Clone(dataHeader), payload...)
	if p.Relay != nil {
		_ = p.Relay.Send(b, p.Remote)
		return
	}
	_ = s.SendTo(b, p.Local, p.Remote)
}

// newMembers returns two members; the first has the lower key. Their epochs
// are 1 and 2.
func newMembers(t testing.TB) (x, y member) {
	t.Helper()
	x, y = newMember(t, 1), newMember(t, 2)
	if kx, ky := x.Node.Public(), y.Node.Public(); bytes.Compare(kx[:], ky[:]) > 0 {
		x, y = y, x
	}
	x.Epoch, y.Epoch = 1, 2
	return x, y
}

type member struct {
	*signaling.Self
	record *signaling.SignedRecord
}

var labNetwork = func() (k config.NetworkPrivateKey) {
	if err := k.SetSeed(bytes.Repeat([]byte{7}, 32)); err != nil {
		panic(err)
	}
	return k
}()

func newMember(t testing.TB, host byte) member {
	t.Helper()
	key, wg, seal := config.NewNodeKey(), config.NewWireGuardKey(), config.NewSealingKey()
	rec, err := signaling.NetworkAdmin(labNetwork).Record(signaling.Record{
		Node: key.Public(), Sequence: 1, Name: fmt.Sprintf("n%d", host), IPv4: netip.AddrFrom4([4]byte{10, 77, 0, host}),
		WireGuard: wg.Public(), Sealing: seal.Public(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return member{&signaling.Self{Network: labNetwork.Public().ID(), Node: key, Sealing: seal, WireGuard: wg.Public()}, rec}
}

// until waits in virtual time for cond, at most for d, and returns how long
// it took.
func (l *lab) until(d time.Duration, what string, cond func() bool) time.Duration {
	l.t.Helper()
	start := time.Now()
	for !cond() {
		if time.Since(start) > d {
			l.t.Fatalf("after %v: not %s", d, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}
