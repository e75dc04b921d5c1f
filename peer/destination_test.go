package peer

import (
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// bound waits for the relay's channel to an address, which the packet asks for.
func (r *Relay) bound(l *lab, to netip.AddrPort) (number uint16) {
	l.t.Helper()
	_ = r.Send([]byte{4, 0, 0, 0}, to)
	l.until(time.Second, "bound", func() (ok bool) {
		number, ok = r.Channel(to)
		return ok
	})
	return number
}

// What is used stays bound, both ways, whatever asks for the channel; packets
// never wait for a renewal, nor depend on one.
func TestBindingsAreRenewed(t *testing.T) {
	inLab(t, func(l *lab) {
		n, to := public(l), public(l)
		r := n.relay()
		number := r.bound(l, to.addr)
		for i := range 45 * 6 {
			if i == 20*6 {
				l.lose(func(_, at netip.AddrPort, b []byte) bool { return at == hubAddr && isBind(b, to.addr) })
			}
			if i == 23*6 {
				l.lose(nil)
			}
			if got, ok := r.Channel(to.addr); !ok || got != number {
				t.Fatalf("channel %d %v after %d0 s, want %d", got, ok, i, number)
			}
			there, back := "there"+strconv.Itoa(i), "back"+strconv.Itoa(i)
			_ = r.Send(append([]byte{4, 0, 0, 0}, there...), to.addr)
			_ = to.SendTo(append([]byte{4, 0, 0, 0}, back...), netip.Addr{}, r.Addr())
			time.Sleep(10 * time.Second)
			if !to.received(there) || !n.received(back) {
				t.Fatalf("packet %d is lost", i)
			}
		}
	})
}

func TestUnusedBindingsLapse(t *testing.T) {
	inLab(t, func(l *lab) {
		n, to, other := public(l), public(l), public(l)
		r := n.relay()
		first := r.bound(l, to.addr)
		var binds atomic.Int32
		l.lose(func(_, at netip.AddrPort, b []byte) bool {
			if at == hubAddr && isBind(b, to.addr) {
				binds.Add(1)
			}
			return false
		})
		time.Sleep(boundFor + 2*tickEvery)
		if _, ok := r.Channel(to.addr); ok || binds.Load() > 0 {
			t.Errorf("channel %v, %d times renewed, though it was not used", ok, binds.Load())
		}
		// The server may hold the channel for longer, so nobody else gets it.
		r.mu.Lock()
		r.number = first - 1
		r.mu.Unlock()
		if second := r.bound(l, other.addr); second == first {
			t.Errorf("channel %d given to another", first)
		}
		if again := r.bound(l, to.addr); again != first {
			t.Errorf("channel %d for the same address, want %d", again, first)
		}
		time.Sleep(takenFor + unusedFor)
		if got := len(r.table.Load().byAddr); got != 0 {
			t.Errorf("%d destinations long after their use", got)
		}
	})
}

func TestDestinationsAreBounded(t *testing.T) {
	inLab(t, func(l *lab) {
		r := public(l).relay()
		full := 0
		for i := range maxDestinations + 10 {
			if r.Send([]byte{4, 0, 0, 0}, netip.AddrPortFrom(netip.MustParseAddr("203.0.113.200"), uint16(1+i))) != nil {
				full++
			}
		}
		if got := len(r.table.Load().byAddr); got != maxDestinations || full != 10 {
			t.Errorf("%d destinations, %d refused, want %d and 10", got, full, maxDestinations)
		}
		time.Sleep(time.Second)
		for range 60 { // they stay bound, each for itself
			n := 0
			for to := range r.table.Load().byAddr {
				if _, ok := r.Channel(to); ok {
					n++
				}
			}
			if n != maxDestinations {
				t.Fatalf("%d destinations are bound, want %d", n, maxDestinations)
			}
			time.Sleep(tickEvery)
		}
		for _, to := range []string{"[2001:db8::1]:1", "127.0.0.1:1", "203.0.113.1:0"} {
			if err := r.Send([]byte{4}, netip.MustParseAddrPort(to)); err == nil {
				t.Errorf("an IPv4 relay took a packet for %s", to)
			}
		}
	})
}

// A refused destination is asked for again, seldom, until the server takes it.
func TestRefusedDestination(t *testing.T) {
	inLab(t, func(l *lab) {
		n, to := public(l), public(l)
		r := n.relay()
		var asked atomic.Int32
		refuse := func(netip.Addr) bool { asked.Add(1); return true }
		l.refuse.Store(&refuse)
		for range 20 * 10 {
			_ = r.Send([]byte{4, 0, 0, 0}, to.addr)
			time.Sleep(100 * time.Millisecond)
		}
		if n := asked.Load(); n < 6 || n > 10 {
			t.Errorf("asked %d times in 20 s", n)
		}
		l.refuse.Store(nil)
		took := l.until(refusedMaxWait+time.Second, "bound", func() bool {
			_ = r.Send([]byte{4, 0, 0, 0}, to.addr)
			_, ok := r.Channel(to.addr)
			return ok
		})
		t.Logf("bound %v after it was allowed", took)
	})
}

// What waits for a member that the server hears of in this moment is not lost, and
// does not wait for another packet.
func TestRefusedAtFirst(t *testing.T) {
	inLab(t, func(l *lab) {
		n, to := public(l), public(l)
		r := n.relay()
		var asked atomic.Int32
		refuse := func(netip.Addr) bool { return asked.Add(1) == 1 }
		l.refuse.Store(&refuse)
		_ = r.Send([]byte{4, 0, 0, 0, 'o', 'u', 't'}, to.addr)
		took := l.until(refusedWait, "sent", func() bool { return to.received("out") })
		t.Logf("sent after %v", took)
	})
}

// A permission has no port: an address that has one for another port is sent to
// at once, and so is heard from there.
func TestPermissionServesOtherPorts(t *testing.T) {
	inLab(t, func(l *lab) {
		n, to := public(l), public(l)
		r := n.relay()
		r.bound(l, netip.AddrPortFrom(to.addr.Addr(), 9))
		l.lose(func(_, at netip.AddrPort, b []byte) bool { return at == hubAddr && isBind(b, to.addr) })
		_ = to.SendTo([]byte{4, 0, 0, 0, 'i', 'n'}, netip.Addr{}, r.Addr())
		_ = r.Send([]byte{4, 0, 0, 0, 'o', 'u', 't'}, to.addr)
		l.until(100*time.Millisecond, "exchanged", func() bool { return to.received("out") && n.received("in") })
	})
}

func TestChannel(t *testing.T) {
	inLab(t, func(l *lab) {
		n, to := public(l), public(l)
		r := n.relay()
		if _, ok := r.Channel(to.addr); ok {
			t.Error("a channel before anything was sent")
		}
		number := r.bound(l, to.addr)
		if got, from, ok := n.underlay.Channel(hubAddr, number); !ok || got != r || from != to.addr {
			t.Errorf("channel %d leads to %v %s %v", number, got, from, ok)
		}
		for _, no := range []struct {
			server netip.AddrPort
			number uint16
		}{{hubAddr, number + 1}, {to.addr, number}} {
			if _, _, ok := n.underlay.Channel(no.server, no.number); ok {
				t.Errorf("channel %d of %s is not ours", no.number, no.server)
			}
		}
		n.underlay.SetServers(nil)
		l.until(time.Second, "given up", r.lost)
		if _, ok := r.Channel(to.addr); ok {
			t.Error("a lost relay has a channel")
		}
	})
}

// newBenchRelay returns a relay with one bound channel, whose packets go nowhere.
func newBenchRelay() (*Underlay, *Relay, netip.AddrPort) {
	u := NewUnderlay(UnderlayConfig{Port: 1, Socket: socketFunc(func([]byte, netip.Addr, netip.AddrPort) error { return nil })})
	s := newServer(u, Server{Addr: hubAddr})
	r := newRelay(s, newTURNClient(u.socket, hubAddr, "", ""), netip.MustParseAddrPort("203.0.113.1:5000"), nil)
	s.relay.Store(r)
	s.client.Store(r.client)
	u.servers.Store(&map[netip.AddrPort]*server{hubAddr: s})
	to := netip.MustParseAddrPort("198.51.100.1:7")
	d, err := r.addLocked(to, time.Now())
	if err != nil {
		panic(err)
	}
	d.bound.Store(true)
	return u, r, to
}

// A relay that takes another's place gives no number to another address, and no address
// another number: what the other asked for may come to the new allocation.
func TestNextRelayKeepsNumbers(t *testing.T) {
	_, old, to := newBenchRelay()
	number, _ := old.Channel(to)
	old.left = old.table.Swap(nil)
	r := newRelay(old.server, old.client, netip.MustParseAddrPort("203.0.113.1:5001"), old)
	if _, ok := r.Channel(to); ok {
		t.Error("bound before the server was asked")
	}
	if d := r.table.Load().byAddr[to]; d == nil || d.number != number {
		t.Errorf("%+v, want the number %d", d, number)
	}
	d, err := r.addLocked(netip.MustParseAddrPort("198.51.100.1:8"), time.Now())
	if err != nil || d.number == number {
		t.Errorf("%+v, %v; want another number than %d", d, err, number)
	}
}

func BenchmarkSend(b *testing.B) {
	_, r, to := newBenchRelay()
	packet := make([]byte, 1280)
	b.ReportAllocs()
	for b.Loop() {
		_ = r.Send(packet, to)
	}
}

func BenchmarkChannel(b *testing.B) {
	u, r, to := newBenchRelay()
	b.ReportAllocs()
	for b.Loop() {
		n, _ := r.Channel(to)
		_, _, _ = u.Channel(hubAddr, n)
	}
}
