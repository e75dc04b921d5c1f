package tunnel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	wgdevice "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// side is one of two machines: a WireGuard device over a Bind, and its one peer.
type side struct {
	bind  *Bind
	dev   *wgdevice.Device
	tun   *tuntest.ChannelTUN
	peer  *Endpoint     // the other side
	wants chan struct{} // a path to the other side is wanted
	inner netip.Addr
	outer netip.AddrPort

	keys     *keyRing
	private  config.WireGuardPrivateKey
	otherKey config.WireGuardKey
	stored   atomic.Pointer[config.PeerKeys] // what is on its disk
}

// newSides makes two machines that know each other's keys and have a preshared
// key in common, but no paths.
func newSides(t testing.TB) (a, b *side) {
	t.Helper()
	common := ringOf(0, config.NewPresharedKey())
	return newSidesWith(t, common, common)
}

// newSidesWith makes two machines with these preshared keys.
func newSidesWith(t testing.TB, ofA, ofB config.PeerKeys) (a, b *side) {
	t.Helper()
	a, b = newSide(t, 1, 2, ofA), newSide(t, 2, 1, ofB)
	return a, b
}

// newSide makes a machine with a number, whose peer is the machine with another.
func newSide(t testing.TB, number, other byte, known config.PeerKeys) *side {
	t.Helper()
	private := func(n byte) (k config.WireGuardPrivateKey) {
		if err := k.SetSeed(bytes.Repeat([]byte{n}, 32)); err != nil {
			t.Fatal(err)
		}
		return k
	}
	inner := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 64, 0, n}) }
	s := &side{
		bind:     NewBind(BindConfig{Handler: newRecorder()}),
		tun:      tuntest.NewChannelTUN(),
		wants:    make(chan struct{}, 1),
		inner:    inner(number),
		private:  private(number),
		otherKey: private(other).Public(),
	}
	log := slog.New(slog.DiscardHandler)
	s.dev = wgdevice.NewDevice(s.tun.TUN(), s.bind, wireGuardLogger(log, s.bind.refused))
	s.dev.DisableSomeRoamingForBrokenMobileSemantics() // as in device.go
	t.Cleanup(s.close)
	s.peer = s.bind.NewEndpoint(inner(other), func() {
		select {
		case s.wants <- struct{}{}:
		default:
		}
	})
	s.stored.Store(&known)
	s.keys = newKeyRing(known, log)
	s.keys.install = func(k config.PresharedKey) error { return s.dev.IpcSet(presharedConfig(s.otherKey, k)) }
	s.keys.save = func(keys config.PeerKeys) func() error {
		s.stored.Store(&keys)
		return func() error { return nil }
	}
	s.keys.again = func(response []byte) { s.bind.enqueue(s.peer, response) }
	s.peer.keys = s.keys
	if err := s.dev.IpcSet("private_key=" + hex.EncodeToString(s.private.Seed()) + "\n"); err != nil {
		t.Fatal(err)
	}
	s.addPeer(t)
	if err := s.dev.Up(); err != nil {
		t.Fatal(err)
	}
	s.outer = netip.AddrPortFrom(home, s.bind.Port())
	return s
}

// addPeer gives the device its peer.
func (s *side) addPeer(t testing.TB) {
	t.Helper()
	err := s.keys.give(func(k config.PresharedKey) error {
		return s.dev.IpcSet(presharedConfig(s.otherKey, k) +
			fmt.Sprintf("allowed_ip=%v/32\nendpoint=%s\n", s.peer.DstIP(), s.peer.DstToString()))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// close ends the machine; it may have ended already.
func (s *side) close() {
	s.keys.close()
	s.dev.Close()
}

// ringOf is keys of which one is in use.
func ringOf(use int, keys ...config.PresharedKey) config.PeerKeys {
	return config.PeerKeys{Keys: keys, Use: use}
}

// connect gives both sides a path to the other.
func connect(a, b *side) {
	a.peer.AddSource(nil, b.outer)
	b.peer.AddSource(nil, a.outer)
	a.peer.SetPath(Path{Remote: b.outer})
	b.peer.SetPath(Path{Remote: a.outer})
}

// packetTo returns an IPv4 packet with a number in it.
func (s *side) packetTo(other *side, n uint32) []byte {
	p := tuntest.Ping(other.inner, s.inner)
	binary.BigEndian.PutUint32(p[len(p)-4:], n)
	return p
}

// number reads what packetTo wrote.
func number(p []byte) uint32 { return binary.BigEndian.Uint32(p[len(p)-4:]) }

// ping sends one packet and waits for it.
func (s *side) ping(t *testing.T, other *side, n uint32) {
	t.Helper()
	s.tun.Outbound <- s.packetTo(other, n)
	if got := number(next(t, other.tun.Inbound)); got != n {
		t.Fatalf("packet %d arrived, want %d", got, n)
	}
}

// soon is what a handshake over loopback may take on a loaded machine, under the
// race detector. Alone it takes some milliseconds; the traps that it guards
// against take WireGuard five seconds.
const soon = 3 * time.Second

func TestDevicesPing(t *testing.T) {
	checkLeaks(t)
	a, b := newSides(t)
	a.peer.SetPath(Path{Remote: b.outer})
	b.peer.SetPath(Path{Remote: a.outer})
	a.ping(t, b, 1)
	b.ping(t, a, 2)

	// New sockets, same port, same session.
	if err := a.dev.BindUpdate(); err != nil {
		t.Fatal(err)
	}
	if got := a.bind.Port(); got != a.outer.Port() {
		t.Fatalf("port %d after reopening, want %d", got, a.outer.Port())
	}
	a.ping(t, b, 3)
	b.ping(t, a, 4)

	// Down forgets the session, nothing else.
	if err := b.dev.Down(); err != nil {
		t.Fatal(err)
	}
	if err := b.dev.Up(); err != nil {
		t.Fatal(err)
	}
	b.ping(t, a, 5)
	if got := a.bind.Counters(); got != (Counters{}) {
		t.Errorf("dropped %+v, want nothing", got)
	}
}

// TestFirstPacket sends before there is a path, and gives one in each of the
// orders in which ICE may find it.
func TestFirstPacket(t *testing.T) {
	tests := []struct {
		name string
		play func(t *testing.T, a, b *side)
	}{
		{"the other side is ready", func(t *testing.T, a, b *side) {
			b.peer.SetPath(Path{Remote: a.outer})
			a.peer.SetPath(Path{Remote: b.outer})
		}},
		{"the other side only hears yet", func(t *testing.T, a, b *side) {
			b.peer.AddSource(nil, a.outer)
			a.peer.SetPath(Path{Remote: b.outer})
			next(t, b.wants) // its response waits for a path
			b.peer.SetPath(Path{Remote: a.outer})
		}},
		{"the first path was a dead one", func(t *testing.T, a, b *side) {
			dead, addr := listenUDP(t, "127.0.0.1:0")
			b.peer.SetPath(Path{Remote: a.outer})
			a.peer.SetPath(Path{Remote: addr})
			dead.SetReadDeadline(time.Now().Add(patience))
			if n, err := dead.Read(make([]byte, 200)); n != initiationSize {
				t.Fatalf("the dead path took %d bytes, %v; want the initiation", n, err)
			}
			a.peer.SetPath(Path{Remote: b.outer})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkLeaks(t)
			a, b := newSides(t)
			a.tun.Outbound <- a.packetTo(b, 7)
			next(t, a.wants)
			start := time.Now()
			tt.play(t, a, b)
			if got := number(next(t, b.tun.Inbound)); got != 7 {
				t.Errorf("packet %d arrived, want 7", got)
			}
			took := time.Since(start)
			if took > soon {
				t.Errorf("the first packet took %v", took)
			}
			t.Logf("the first packet arrived %v after the path", took)
		})
	}
}

// wireRelay is one side's relay; what it sends arrives at the other's.
type wireRelay struct {
	self, other netip.AddrPort
	far         *wireRelay
	bind        *Bind
	carried     atomic.Uint64
}

func (r *wireRelay) Send(b []byte, to netip.AddrPort) error {
	r.carried.Add(1)
	if to == r.other {
		r.far.bind.Relayed(r.far, r.self, b)
	}
	return nil
}

func (r *wireRelay) Server() netip.AddrPort                { return netip.AddrPort{} }
func (r *wireRelay) Channel(netip.AddrPort) (uint16, bool) { return 0, false }

// TestPathSwap moves both sides from direct to relayed and back under traffic.
func TestPathSwap(t *testing.T) {
	checkLeaks(t)
	a, b := newSides(t)
	relayA := &wireRelay{self: netip.MustParseAddrPort("192.0.2.1:1"), other: netip.MustParseAddrPort("192.0.2.2:2"), bind: a.bind}
	relayB := &wireRelay{self: relayA.other, other: relayA.self, bind: b.bind, far: relayA}
	relayA.far = relayB
	paths := [][2]Path{
		{{Local: home, Remote: b.outer}, {Local: home, Remote: a.outer}},
		{{Remote: relayB.self, Relay: relayA}, {Remote: relayA.self, Relay: relayB}},
	}
	// Both ways are proved before either carries data, as by ICE.
	for _, p := range paths {
		a.peer.AddSource(p[0].Relay, p[0].Remote)
		b.peer.AddSource(p[1].Relay, p[1].Remote)
	}
	a.peer.SetPath(paths[0][0])
	b.peer.SetPath(paths[0][1])
	a.ping(t, b, 0)

	const count, swapEvery, window = 6000, 100, 64
	tokens := make(chan struct{}, window)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for n := range uint32(count) {
			tokens <- struct{}{}
			a.tun.Outbound <- a.packetTo(b, n+1)
		}
	}()
	seen := make([]bool, count+1)
	for n := range count {
		if n%swapEvery == 0 {
			p := paths[n/swapEvery%2]
			a.peer.SetPath(p[0])
			b.peer.SetPath(p[1])
		}
		got := number(next(t, b.tun.Inbound))
		if seen[got] {
			t.Fatalf("packet %d came twice", got)
		}
		seen[got] = true
		<-tokens
	}
	<-sent
	// Packets are counted where the relay takes them, some after a swap; so a
	// quarter each is enough to show that both ways carried.
	if got := relayA.carried.Load(); got < count/4 || got > 3*count/4 {
		t.Errorf("the relay carried %d packets, want about half of %d", got, count)
	}
	if got := b.bind.Counters(); got != (Counters{}) {
		t.Errorf("dropped %+v, want nothing", got)
	}
}

// TestNoRoaming: packets that arrive from an address which another member has
// claimed do not move the peer to that member's endpoint.
func TestNoRoaming(t *testing.T) {
	a, b := newSides(t)
	a.peer.SetPath(Path{Remote: b.outer})
	b.peer.SetPath(Path{Remote: a.outer})
	a.ping(t, b, 1)
	thief := a.bind.NewEndpoint(netip.MustParseAddr("10.64.0.66"), nil)
	thief.AddSource(nil, b.outer)
	b.ping(t, a, 2) // arrives with the thief's endpoint
	a.ping(t, b, 3) // and still goes to b
}
