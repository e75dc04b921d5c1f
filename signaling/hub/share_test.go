package hub

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/pion/stun/v4"
)

func TestMeter(t *testing.T) {
	const rate, size = 1_000_000, 1000 - packetOverhead
	m := newMeter(rate)
	pass := func(at time.Duration, packets int) (passed int) {
		for range packets {
			if m.takeAt(int64(at), size) {
				passed++
			}
		}
		return passed
	}
	for _, step := range []struct {
		at   time.Duration
		want int
	}{
		{0, 1000},                       // the burst is a second's
		{0, 0},                          //
		{10 * time.Millisecond, 10},     // then what the rate gives
		{20 * time.Millisecond, 10},     //
		{time.Second, 980},              //
		{time.Hour, 1000},               // and never more than the burst
		{time.Hour + time.Second, 1000}, //
	} {
		if got := pass(step.at, 5000); got != step.want {
			t.Errorf("at %v %d packets of 1000 bytes, want %d", step.at, got, step.want)
		}
	}
}

// Many goroutines pay for each byte once.
func TestMeterIsShared(t *testing.T) {
	m := newMeter(1_000_000)
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for range 8 {
		wg.Go(func() {
			n := 0
			for range 1000 {
				if m.takeAt(0, 1000-packetOverhead) {
					n++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total += n
		})
	}
	wg.Wait()
	if total != 1000 {
		t.Errorf("%d packets, want 1000", total)
	}
}

// A hub without a limit has none, at any speed.
func TestNoRelayRate(t *testing.T) {
	cfg := Config{RelayRate: -1}
	cfg.setDefaults()
	m := newMeter(cfg.RelayRate)
	for i := range 1_000_000 { // 64 GB at one moment
		if !m.takeAt(int64(time.Hour), 64_000) {
			t.Fatalf("packet %d was refused", i)
		}
	}
}

func BenchmarkMeter(b *testing.B) {
	m := newMeter(1 << 40)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.take(1280)
		}
	})
}

// A member that floods has its own packets dropped, both ways, over all of its
// allocations; another's pass.
func TestRelayRate(t *testing.T) {
	const rate = 100_000
	h := startHub(t, Config{RelayRate: rate}, func(h *Hub) { h.admitted.allowLoopback = true })
	network := config.NewNetworkKey().Public()
	greedy, modest := identity{network, config.NodeKey{1}}, identity{network, config.NodeKey{2}}
	peer, err := net.ListenPacket("udp4", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	to := addrPort(peer.LocalAddr())
	h.admitted.hold(network, to.Addr())
	bound := func(id identity, from string) *rawTURN {
		c := newRawTURN(t, h.TURNAddr(), from, issue(h, id)).allocate()
		if code := c.bind(0x4000, to); code != 0 {
			t.Fatalf("channel: error %d", code)
		}
		return c
	}
	received := make(chan int, 10_000)
	go func() {
		buf := make([]byte, 2000)
		for {
			n, _, err := peer.ReadFrom(buf)
			if err != nil {
				close(received)
				return
			}
			received <- n
		}
	}()
	one, two, other := bound(greedy, "127.0.0.3"), bound(greedy, "127.0.0.4"), bound(modest, "127.0.0.5")
	start := time.Now()
	const packets = 150 // of each allocation: 1.5 bursts and more together
	for range packets {
		one.channelData(0x4000, 1000)
		two.channelData(0x4000, 1000)
		one.settled() // no queue is full but the meter's
		two.settled()
	}
	most := (rate + int(rate*time.Since(start).Seconds())) / (1000 + packetOverhead)
	dropped := int(h.drops.overRate.Load())
	if passed := 2*packets - dropped; passed > most || passed < 97 {
		t.Errorf("%d packets of %d passed, want 97 to %d", passed, 2*packets, most)
	}
	for range 2*packets - dropped {
		<-received
	}
	other.channelData(0x4000, 10)
	select {
	case n := <-received:
		if n != 10 {
			t.Errorf("got %d bytes, want the other member's 10", n)
		}
	case <-time.After(patience):
		t.Error("another member's packet did not pass")
	}

	// The other way: what a permitted peer sends counts, what anybody else
	// does is not the member's doing.
	h.relay.mu.RLock()
	meter := h.relay.shares[modest].meter
	var relayed *relayConn
	for c := range h.relay.shares[modest].conns {
		relayed = c
	}
	h.relay.mu.RUnlock()
	before := meter.paid.Load()
	stranger, err := net.ListenPacket("udp4", "127.0.0.10:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	deliver := func(from net.PacketConn, text string) {
		t.Helper()
		if _, err := from.WriteTo([]byte(text), relayed.announced); err != nil {
			t.Fatal(err)
		}
	}
	deliver(stranger, "not asked for")
	deliver(peer, "asked for")
	other.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 100)
	n, err := other.conn.Read(buf)
	if err != nil || n < 4 || string(buf[4:4+9]) != "asked for" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	if paid := meter.paid.Load() - before; paid <= 0 || paid > int64(meter.perByte*(9+4+3+packetOverhead))+int64(time.Second) {
		t.Errorf("paid %d ns", paid)
	}
	meter.paid.Store(int64(time.Since(meterStart) + time.Hour)) // all used up
	drops := h.drops.overRate.Load()
	deliver(peer, "too much")
	waitFor(t, "packet dropped", func() bool { return h.drops.overRate.Load() == drops+1 })
}

// A new allocation goes on with the old one's meter, until the member has been
// away.
func TestMeterOutlivesAllocation(t *testing.T) {
	h := startRelayHub(t)
	id := identity{config.NewNetworkKey().Public(), config.NodeKey{1}}
	meter := func() *meter {
		h.relay.mu.RLock()
		defer h.relay.mu.RUnlock()
		if s := h.relay.shares[id]; s != nil {
			return s.meter
		}
		return nil
	}
	c := newRawTURN(t, h.TURNAddr(), "127.0.0.3", issue(h, id)).allocate()
	first := meter()
	gone := attribute(stun.AttrLifetime, 0, 0, 0, 0)
	h.relay.prune()
	if code := c.code(stun.MethodRefresh, gone); code != 0 || h.relay.inUse(id) {
		t.Fatalf("error %d, in use %v", code, h.relay.inUse(id))
	}
	c.allocate()
	if first == nil || meter() != first {
		t.Error("a new allocation has a new meter")
	}
	c.code(stun.MethodRefresh, gone)
	if h.relay.prune(); meter() != nil {
		t.Error("the meter of a member that is gone stays")
	}
}
