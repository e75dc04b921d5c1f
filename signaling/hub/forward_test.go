package hub

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/udpbatch"
	"github.com/pion/stun/v4"
)

// quiet fails the test if something comes to the line. The hub has handled all
// that was sent before: so says the caller.
func (l *line) quiet() {
	l.t.Helper()
	l.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	b, err := l.ReadBatch()
	if err == nil {
		d, from, _ := b.Next()
		l.t.Errorf("%d bytes came from %v", len(d), from)
		b.Release()
	} else if !errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Error(err)
	}
}

// shapes are bursts by their sizes.
var shapes = []struct {
	name    string
	sizes   []int
	padding int
}{
	{"one", []int{100}, 0},
	{"an empty one", []int{0}, 0},
	{"equal", slices.Repeat([]int{1280}, 40), 0},
	{"short tail", append(slices.Repeat([]int{1000}, 9), 3), 0},
	{"longer and longer", []int{1, 2, 3, 500, 501, 1400}, 0},
	{"mixed", []int{1280, 1280, 60, 60, 60, 1280, 0, 1280, 1200, 1280}, 0},
	{"padded", slices.Repeat([]int{1001}, 20), 3},
	{"many small", slices.Repeat([]int{16}, 200), 0},
	{"full super-packets", slices.Repeat([]int{1018}, 128), 0},
	{"jumbo", slices.Repeat([]int{9000}, 14), 0},
	{"the largest", []int{65000}, 0},
}

// What is relayed on channels comes whole, in order and from the right address,
// whatever the sizes, in every direction, with and without the kernel's help;
// and it is counted.
func TestForward(t *testing.T) {
	for _, f := range relayFamilies {
		for _, singly := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, singly %v", f.name, singly), func(t *testing.T) { testForward(t, f, singly) })
		}
	}
}

func testForward(t *testing.T, f relayFamily, singly bool) {
	h := startLineHub(t, f.hub)
	ida, idb := twoMembers()
	forwardAll(t, h, newCaller(t, h, ida, f.a), newCaller(t, h, idb, f.b), listenLine(t, f.member), singly)
}

// A client of one family may have a relay of the other.
func TestForwardAcrossFamilies(t *testing.T) {
	four, six := relayFamilies[0], relayFamilies[1]
	h := startLineHubAt(t, []netip.Addr{four.hub, six.hub})
	ida, idb := twoMembers()
	a, b := newCaller(t, h, ida, six.a, wantIPv4), newCaller(t, h, idb, four.b)
	if !a.relayed.Addr().Is4() || !a.addr.Addr().Is6() {
		t.Fatalf("%v has %v", a.addr, a.relayed)
	}
	forwardAll(t, h, a, b, listenLine(t, four.member), false)
}

func forwardAll(t *testing.T, h *testHub, a, b *caller, peer *line, singly bool) {
	h.admitted.hold(a.conn.network, peer.addr.Addr())
	a.bind(0x4000, peer.addr)
	a.bind(0x4001, b.relayed)
	b.bind(0x4002, a.relayed)
	if singly {
		for _, l := range h.relay.listeners {
			l.SetGSO(false)
		}
		a.conn.socket.SetGSO(false)
	}
	var want usage
	for _, s := range shapes {
		plain := payloads(s.sizes...)
		n, bytes := uint64(len(plain)), uint64(len(slices.Concat(plain...)))
		check := func(way string, got, want [][]byte) {
			t.Helper()
			if err := differ(got, want); err != nil {
				t.Errorf("%s, %s: %v", s.name, way, err)
			}
		}
		a.send(a.server, channelData(0x4001, s.padding, plain...)...)
		check("inside", b.receive(len(plain), b.server), channelData(0x4002, 0, plain...))
		want = want.plus(usage{n, bytes, n, bytes + channelHeader*n})

		a.send(a.server, channelData(0x4000, s.padding, plain...)...)
		check("up", peer.receive(len(plain), a.reach), plain)
		want = want.plus(usage{upPackets: n, upBytes: bytes})

		peer.send(a.reach, plain...)
		check("down", a.receive(len(plain), a.server), channelData(0x4000, 0, plain...))
		want = want.plus(usage{downPackets: n, downBytes: bytes + channelHeader*n})
	}
	all := h.usageOf(a, b, want)
	if all != want {
		t.Errorf("counted %+v, want %+v", all, want)
	}
}

// usageOf waits until the hub has counted what came already: it counts what
// has left.
func (h *testHub) usageOf(a, b *caller, want usage) usage {
	for range 1000 {
		if all, _ := h.relay.usage(); all == want {
			break
		}
		time.Sleep(time.Millisecond)
	}
	all, members := h.relay.usage()
	if sum := members[a.conn.client.Load().owner].plus(members[b.conn.client.Load().owner]); sum != all {
		a.t.Errorf("the members have %+v together, all %+v", sum, all)
	}
	return all
}

// Peers and clients that come in one batch are told apart.
func TestForwardMixed(t *testing.T) {
	h := startLineHub(t, loopback)
	ida, idb := twoMembers()
	f := relayFamilies[0]
	a, b := newCaller(t, h, ida, f.a), newCaller(t, h, idb, f.b)
	a.bind(0x4fff, b.relayed)
	b.bind(0x4abc, a.relayed)
	h.admitted.hold(ida.network, f.member)
	const count = 11 // and the relay: more than there are runs at a time
	var peers []*line
	for i := range count {
		peers = append(peers, listenLine(t, f.member))
		a.bind(0x4000+uint16(i), peers[i].addr)
	}
	for round := range 20 {
		want := make([][][]byte, count+1)
		var all [][]byte
		sent := 0
		for i := range 120 {
			to := rand.N(1 + rand.N(count+1))
			p := payloads(100, 100+rand.N(3))[1]
			p[0] = byte(i)
			want[to] = append(want[to], p)
			channel := 0x4000 + uint16(to)
			if to == count {
				channel = 0x4fff
			} else {
				sent++
			}
			all = append(all, channelData(channel, 0, p)...)
		}
		a.send(a.server, all...)
		for i, p := range peers {
			if err := differ(p.receive(len(want[i]), a.relayed), want[i]); err != nil {
				t.Fatalf("round %d, peer %d: %v", round, i, err)
			}
		}
		if err := differ(b.receive(len(want[count]), b.server), channelData(0x4abc, 0, want[count]...)); err != nil {
			t.Fatalf("round %d, relay: %v", round, err)
		}
		for i, p := range peers {
			p.send(a.relayed, want[i]...)
		}
		back := make([][][]byte, count)
		for _, d := range a.receive(sent, a.server) {
			channel, p, ok := parseChannelData(d)
			if !ok || channel >= 0x4000+count {
				t.Fatalf("channel %x, %v", channel, ok)
			}
			back[channel-0x4000] = append(back[channel-0x4000], p)
		}
		for i := range back {
			if err := differ(back[i], want[i]); err != nil {
				t.Fatalf("round %d, from peer %d: %v", round, i, err)
			}
		}
	}
}

// Nothing goes on a channel that is not there, and nothing that is broken.
func TestForwardRefuses(t *testing.T) {
	h := startLineHub(t, loopback)
	ida, idb := twoMembers()
	f := relayFamilies[0]
	a, b, peer := newCaller(t, h, ida, f.a), newCaller(t, h, idb, f.b), listenLine(t, f.member)
	h.admitted.hold(ida.network, f.member)
	stranger := newCaller(t, h, identity{config.NewNetworkKey().Public(), config.NodeKey{3}}, netip.MustParseAddr("127.0.0.5"))
	h.admitted.hold(stranger.conn.network, f.member)
	a.bind(0x4000, peer.addr)
	a.bind(0x4001, b.relayed)
	a.bind(0x4002, netip.AddrPortFrom(loopback, 9)) // the hub's own, and no relay
	a.bind(0x4003, stranger.relayed)
	stranger.bind(0x4000, a.relayed)

	d := h.relay.drops
	long, short := channelData(0x4000, 0, []byte("abc"))[0], channelData(0x4000, 4, []byte("abc"))[0]
	long[3]++
	for _, tt := range []struct {
		name  string
		count func() uint64
		send  func()
	}{
		{"another channel", d.channels.Load, func() { a.send(a.server, channelData(0x4009, 0, []byte("x"))...) }},
		{"a number that is no channel", d.channels.Load, func() { a.send(a.server, channelData(0x7fff, 0, []byte("x"))...) }},
		{"a client without an allocation", d.channels.Load, func() { peer.send(a.server, channelData(0x4000, 0, []byte("x"))...) }},
		{"a length beyond the datagram", d.channels.Load, func() { a.send(a.server, long) }},
		{"more than padding", d.channels.Load, func() { a.send(a.server, short) }},
		{"no length", d.channels.Load, func() { a.send(a.server, long[:3]) }},
		{"the hub itself", d.toHub.Load, func() { a.send(a.server, channelData(0x4002, 0, []byte("x"))...) }},
		{"another network's relay", d.toHub.Load, func() { a.send(a.server, channelData(0x4003, 0, []byte("x"))...) }},
		{"a relay that has not permitted it", d.unasked.Load, func() { a.send(a.server, channelData(0x4001, 0, []byte("x"))...) }},
		{"a peer that is not permitted", d.unasked.Load, func() { peer.send(b.relayed, []byte("x")) }},
		{"a peer with the hub's address", d.fromHub.Load, func() { listenLine(t, loopback).send(a.relayed, []byte("x")) }},
	} {
		before := tt.count()
		tt.send()
		waitFor(t, tt.name+" dropped and counted", func() bool { return tt.count() == before+1 })
	}
	for _, l := range []*line{a.line, b.line, peer, stranger.line} {
		l.quiet()
	}
	if all, _ := h.relay.usage(); all != (usage{}) {
		t.Errorf("counted %+v", all)
	}
	// With a permission alone it comes as an indication.
	if code := b.turn.permission(a.relayed.Addr()); code != 0 {
		t.Fatal(code)
	}
	a.send(a.server, channelData(0x4001, 0, []byte("data"))...)
	m := &stun.Message{Raw: b.receive(1, b.server)[0]}
	var data stun.RawAttribute
	if err := m.Decode(); err != nil || m.Type != stun.NewType(stun.MethodData, stun.ClassIndication) {
		t.Fatalf("%v, %v", m, err)
	}
	data, _ = m.Attributes.Get(stun.AttrData)
	if string(data.Value) != "data" {
		t.Errorf("got %q", data.Value)
	}
}

// A request and the data that needs it may come in one batch.
func TestForwardKeepsOrder(t *testing.T) {
	h := startLineHub(t, loopback)
	ida, _ := twoMembers()
	f := relayFamilies[0]
	a := newCaller(t, h, ida, f.a)
	h.admitted.hold(ida.network, f.member)
	a.turn.settled()
	for i := range uint16(50) {
		peer := listenLine(t, f.member)
		m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodChannelBind, stun.ClassRequest),
			attribute(stun.AttrChannelNumber, 0x40, byte(i), 0, 0), peerAddress(peer.addr))
		signedBy(a.turn, m)
		a.send(a.server, channelData(0x4000+i, 0, []byte("too early"))[0], m.Raw, channelData(0x4000+i, 0, []byte("at once"))[0])
		if got := peer.receive(1, a.relayed); string(got[0]) != "at once" {
			t.Errorf("got %q", got[0])
		}
	}
}

// What has expired forwards nothing, in either direction; what is asked for
// anew does, also for another peer.
func TestForwardExpiry(t *testing.T) {
	h := startLineHub(t, loopback, func(h *Hub) {
		h.relay.lives = lives{permission: 300 * time.Millisecond, channel: 900 * time.Millisecond}
	})
	ida, _ := twoMembers()
	f := relayFamilies[0]
	a, peer, next := newCaller(t, h, ida, f.a), listenLine(t, f.member), listenLine(t, f.member)
	h.admitted.hold(ida.network, f.member)
	bindings := a.conn.client.Load().bindings
	permitted := func() bool { _, ok := bindings.in(peer.addr); return ok }
	bound := func() bool {
		bindings.mu.RLock()
		defer bindings.mu.RUnlock()
		return len(bindings.channels) > 0
	}
	passes := func(to *line) {
		t.Helper()
		a.send(a.server, channelData(0x4000, 0, []byte("up"))...)
		to.receive(1, a.relayed)
		to.send(a.relayed, []byte("down"))
		a.receive(1, a.server)
	}
	dropped := func(why string) {
		t.Helper()
		d := h.relay.drops
		channels, unasked := d.channels.Load(), d.unasked.Load()
		a.send(a.server, channelData(0x4000, 0, []byte("up"))...)
		peer.send(a.relayed, []byte("down"))
		waitFor(t, why, func() bool { return d.channels.Load() == channels+1 && d.unasked.Load() == unasked+1 })
	}
	a.bind(0x4000, peer.addr)
	passes(peer)
	waitFor(t, "the permission has expired", func() bool { return !permitted() })
	if !bound() {
		t.Fatal("so has the channel")
	}
	dropped("a channel without a permission")
	if code := a.turn.permission(f.member); code != 0 {
		t.Fatal(code)
	}
	passes(peer)
	waitFor(t, "both have expired", func() bool { return !permitted() && !bound() })
	dropped("nothing there")
	a.bind(0x4000, next.addr)
	passes(next)
	peer.quiet()
}

// A renewal is no event, and what was renewed does not end early.
func TestForwardRenewal(t *testing.T) {
	const life = 400 * time.Millisecond
	h := startLineHub(t, loopback, func(h *Hub) { h.relay.lives = lives{permission: life, channel: life} })
	ida, _ := twoMembers()
	f := relayFamilies[0]
	a, peer := newCaller(t, h, ida, f.a), listenLine(t, f.member)
	h.admitted.hold(ida.network, f.member)
	for start := time.Now(); time.Since(start) < 3*life; {
		a.bind(0x4000, peer.addr)
		a.send(a.server, channelData(0x4000, 0, []byte("up"))...)
		peer.receive(1, a.relayed)
	}
}

// An allocation that has ended, by the client's wish or because its member was
// revoked, forwards nothing from that moment on: from it, to it, and to it from
// another relay, whatever was cached.
func TestForwardEnded(t *testing.T) {
	f := relayFamilies[0]
	for _, tt := range []struct {
		name string
		end  func(h *testHub, a *caller)
	}{
		{"revoked", func(h *testHub, a *caller) { h.relay.end(a.conn.client.Load().owner) }},
		{"given back", func(h *testHub, a *caller) {
			if code := a.turn.code(stun.MethodRefresh, attribute(stun.AttrLifetime, 0, 0, 0, 0)); code != 0 {
				a.t.Fatal(code)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := startLineHub(t, loopback)
			ida, idb := twoMembers()
			a, b, peer := newCaller(t, h, ida, f.a), newCaller(t, h, idb, f.b), listenLine(t, f.member)
			h.admitted.hold(ida.network, f.member)
			a.bind(0x4000, peer.addr)
			a.bind(0x4001, b.relayed)
			b.bind(0x4002, a.relayed)
			a.send(a.server, channelData(0x4000, 0, []byte("x"))...)
			a.send(a.server, channelData(0x4001, 0, []byte("x"))...)
			b.send(b.server, channelData(0x4002, 0, []byte("x"))...)
			peer.receive(1, a.relayed)
			b.receive(1, b.server)
			a.receive(1, a.server)

			bindings := a.conn.client.Load().bindings
			tt.end(h, a)
			// At once, and not when pion/turn comes to it.
			if _, in := bindings.in(peer.addr); in || bindings.out(0x4000) != nil {
				t.Error("something is still bound")
			}
			d := h.relay.drops
			a.send(a.server, channelData(0x4000, 0, []byte("x"))...)
			a.send(a.server, channelData(0x4001, 0, []byte("x"))...)
			b.send(b.server, channelData(0x4002, 0, []byte("x"))...)
			waitFor(t, "all dropped", func() bool { return d.channels.Load() == 2 && d.toHub.Load() == 1 })
			peer.quiet()
			b.quiet()
			a.quiet()
			// Somebody else at the same address is not taken for it.
			waitFor(t, "gone", func() bool { return len(h.allocations()) == 1 })
			peer.send(a.relayed, []byte("x"))
			a.quiet()
			if tt.name == "given back" {
				a.turn.allocate()
				a.send(a.server, channelData(0x4000, 0, []byte("x"))...)
				waitFor(t, "the new allocation has no channel", func() bool { return d.channels.Load() == 3 })
			}
		})
	}
}

// Late events of an old allocation do nothing to the client's new one.
func TestLateEvents(t *testing.T) {
	h := startLineHub(t, loopback)
	ida, _ := twoMembers()
	f := relayFamilies[0]
	a, peer := newCaller(t, h, ida, f.a), listenLine(t, f.member)
	h.admitted.hold(ida.network, f.member)
	a.bind(0x4000, peer.addr)
	now := a.conn.client.Load()
	events := now.front.events()
	src, old := a.LocalAddr(), peer.LocalAddr() // any other relayed address
	events.OnPermissionDeleted(src, nil, "", "", "", old, f.member.AsSlice())
	events.OnChannelDeleted(src, nil, "", "", "", old, old, 0x4000)
	events.OnAllocationDeleted(src, nil, "", "", "")
	a.send(a.server, channelData(0x4000, 0, []byte("x"))...)
	peer.receive(1, a.relayed)
	events.OnPermissionDeleted(src, nil, "", "", "", a.conn.announced, f.member.AsSlice())
	if now.bindings.out(0x4000) != nil {
		t.Error("its own event does nothing, either")
	}
}

// The rate holds for bursts as for single packets, both ways and inside, for
// sender and receiver; what is counted is what passed.
func TestForwardRate(t *testing.T) {
	const rate, size, burst = 1_000_000, 1000 - packetOverhead - channelHeader, 50
	f := relayFamilies[0]
	h := startHub(t, Config{RelayRate: rate}, func(h *Hub) { h.admitted.allowLoopback = true })
	ida, idb := twoMembers()
	a, b, peer := newCaller(t, h, ida, f.a), newCaller(t, h, idb, f.b), listenLine(t, f.member)
	h.admitted.hold(ida.network, f.member)
	a.bind(0x4000, peer.addr)
	a.bind(0x4001, b.relayed)
	b.bind(0x4002, a.relayed)
	plain := payloads(slices.Repeat([]int{size}, burst)...)
	meterOf := func(c *caller) *meter { return c.conn.share.meter }
	for _, way := range []struct {
		name string
		pays []*caller
		send func()
		to   *line
	}{
		{"up", []*caller{a}, func() { a.send(a.server, channelData(0x4000, 0, plain...)...) }, peer},
		{"down", []*caller{a}, func() { peer.send(a.relayed, plain...) }, a.line},
		{"inside, the sender's", []*caller{a}, func() { a.send(a.server, channelData(0x4001, 0, plain...)...) }, b.line},
		{"inside, the receiver's", []*caller{b}, func() { a.send(a.server, channelData(0x4001, 0, plain...)...) }, b.line},
	} {
		long := -int64(time.Hour) // ago
		meterOf(a).paid.Store(long)
		meterOf(b).paid.Store(long)
		// What the rate lets through in the next moments.
		for _, c := range way.pays {
			c.conn.share.meter.paid.Store(int64(time.Since(meterStart)) - int64(20.5*float64(time.Second)*1000/rate))
		}
		before, _ := h.relay.usage()
		drops := h.relay.drops.overRate.Load()
		start := time.Now()
		way.send()
		passed := 0
		waitFor(t, way.name+": all counted", func() bool {
			after, _ := h.relay.usage()
			passed = int(max(after.upPackets-before.upPackets, after.downPackets-before.downPackets))
			return passed+int(h.relay.drops.overRate.Load()-drops) == burst
		})
		most := 21 + int(rate*time.Since(start).Seconds())/(1000-channelHeader)
		if passed < 20 || passed > most {
			t.Errorf("%s: %d of %d passed, want 20 to %d", way.name, passed, burst, most)
		}
		way.to.SetReadDeadline(time.Now().Add(patience))
		way.to.count(passed)
		way.to.quiet()
	}
}

// What the kernel drops in front of a reader that is late is counted, of
// listeners and of relays, once.
func TestUnread(t *testing.T) {
	h := startLineHub(t, loopback)
	ida, _ := twoMembers()
	f := relayFamilies[0]
	a, peer := newCaller(t, h, ida, f.a), listenLine(t, f.member)
	listener := a.conn.client.Load().front.to.(*udpbatch.Conn)
	listener.SetReadBuffer(1)
	a.conn.socket.SetReadBuffer(1)
	flood := payloads(slices.Repeat([]int{1000}, 60)...)
	missed := func(c *udpbatch.Conn) uint64 { n, _ := c.Missed(); return uint64(n) }
	waitFor(t, "datagrams dropped", func() bool {
		a.SetGSO(false) // the buffer takes one super-packet in any case
		peer.SetGSO(false)
		a.send(a.server, flood...)
		peer.send(a.relayed, flood...)
		return missed(listener) > 0 && missed(a.conn.socket) > 0
	})
	want := missed(listener) + missed(a.conn.socket)
	for range 2 {
		h.relay.countUnread()
	}
	a.conn.Close()
	if n := h.relay.drops.unread.Load(); n != want {
		t.Errorf("%d counted, want %d", n, want)
	}
}

// Each address has as many listeners as there are processors, and clients of
// different ones reach each other.
func TestListenersShareAnAddress(t *testing.T) {
	was := listenersPerAddress
	listenersPerAddress = func() int { return 4 }
	defer func() { listenersPerAddress = was }()
	h := startLineHub(t, loopback)
	if n := len(h.relay.listeners); n != 4 {
		t.Skipf("%d listeners: the system does not spread", n)
	}
	network := config.NewNetworkKey().Public()
	used := make(map[*front]int)
	var all []*caller
	for n := range byte(60) {
		c := newCaller(t, h, identity{network, config.NodeKey{n}}, netip.AddrFrom4([4]byte{127, 0, 3, n + 1}))
		used[c.conn.client.Load().front]++
		all = append(all, c)
	}
	if len(used) != 4 {
		t.Errorf("%d listeners used", len(used))
	}
	for i, a := range all {
		b := all[(i+1)%len(all)]
		a.bind(0x4000, b.relayed)
		b.bind(0x4001, a.relayed)
		a.send(a.server, channelData(0x4000, 0, payloads(500, 500, 500)...)...)
		if err := differ(b.receive(3, b.server), channelData(0x4001, 0, payloads(500, 500, 500)...)); err != nil {
			t.Errorf("%d to the next: %v", i, err)
		}
	}
	h.relay.end(identity{network, config.NodeKey{7}})
	waitFor(t, "allocation gone", func() bool { return len(h.allocations()) == len(all)-1 })
}

// FuzzChannelData parses anything.
func FuzzChannelData(f *testing.F) {
	f.Add([]byte{0x40, 0, 0, 3, 'a', 'b', 'c'})
	f.Add([]byte{0x40, 0, 0, 3, 'a', 'b', 'c', 0})
	f.Add([]byte{0x40, 0, 0, 1, 'a', 0, 0, 0, 0})
	f.Add([]byte{0x4f, 0xff, 0xff, 0xff})
	f.Add([]byte{0x40, 0, 0})
	f.Fuzz(func(t *testing.T, d []byte) {
		was := slices.Clone(d)
		channel, payload, ok := parseChannelData(d)
		if !slices.Equal(d, was) {
			t.Error("changed")
		}
		if !ok {
			if n := len(d) - channelHeader; n >= 0 && int(d[2])<<8|int(d[3]) <= n && n-(int(d[2])<<8|int(d[3])) < 4 {
				t.Errorf("%x was refused", d)
			}
			return
		}
		if len(d)-len(payload) < channelHeader || len(d)-len(payload) > channelHeader+3 {
			t.Errorf("%d bytes of %d", len(payload), len(d))
		}
		if again := channelData(channel, 0, payload)[0]; !slices.Equal(again, d[:len(again)]) {
			t.Errorf("%x became %x", d, again)
		}
	})
}
