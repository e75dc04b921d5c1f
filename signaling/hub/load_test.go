package hub

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// Members signal through a hub that strangers attack with all they have, and
// others come in; nobody is lost, and nobody waits long. Under the attack the
// members share two processors with the hub and the attackers.
func TestUnderAttack(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 s")
	}
	h := startHub(t, Config{}, func(h *Hub) { h.gate.limitLoopback = true })
	network := config.NewNetworkKey()
	var pairs []*pinger
	for n := range 8 {
		pairs = append(pairs, newPinger(t, h, network, 2*n))
	}
	quiet := pingAll(pairs, 3*time.Second)

	attackers := startAttack(t, strings.TrimSuffix(h.url(), signaling.Path))
	waitFor(t, "the attack", func() bool {
		return h.drops.sockets.Load() > 100 && h.drops.handshakes.Load() > 20 && h.gate.count() > 6000
	})
	loud := pingAll(pairs, 5*time.Second)
	waiting := h.gate.count()
	var joined []time.Duration
	for n := range 10 {
		start := time.Now()
		c := dial(t, h)
		c.hello(newMember(t, network, 100+n))
		c.greeting(true)
		joined = append(joined, time.Since(start))
	}
	said := attackers()

	slices.Sort(joined)
	t.Logf("round trip of a signal: quiet p50 %v, p99 %v; under attack p50 %v, p99 %v (%d of them)",
		at(quiet, 50), at(quiet, 99), at(loud, 50), at(loud, 99), len(loud))
	t.Logf("a member that comes under attack has all after %v (median), %v (worst)", at(joined, 50), joined[len(joined)-1])
	t.Logf("the attack: %s; %d connections wait, %d refused, %d pushed out, %d handshakes refused",
		bytes.TrimSpace(said), waiting, h.drops.sockets.Load(), h.drops.crowded.Load(), h.drops.handshakes.Load())
	if p99 := at(loud, 99); p99 > 250*time.Millisecond && !underRace {
		t.Errorf("p99 of a signal's round trip is %v under attack, want 250 ms at most", p99)
	}
	if waiting > gateMost {
		t.Errorf("%d connections wait, at most %d may", waiting, gateMost)
	}
	for _, p := range pairs {
		p.a.settled() // still there
	}
}

// count is how many connections wait.
func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting.Len()
}

// startAttack starts the attackers; stop ends them and returns what they say.
func startAttack(t *testing.T, url string) (stop func() []byte) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), attackOn+"="+url)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("attackers: %v\n%s", err, out.Bytes())
		}
	})
	t.Cleanup(end)
	return func() []byte {
		end()
		return out.Bytes()
	}
}

// pinger is two members, of which one sends and the other answers.
type pinger struct {
	a, b   *wsClient
	na, nb config.NodeKey
}

func newPinger(t *testing.T, h *testHub, network config.NetworkPrivateKey, n int) *pinger {
	t.Helper()
	a, b := newMember(t, network, n), newMember(t, network, n+1)
	return &pinger{a: connect(t, h, a), b: connect(t, h, b), na: a.node(), nb: b.node()}
}

// pingAll lets all of them ping for a while, and returns the round trips in
// order of size.
func pingAll(pairs []*pinger, during time.Duration) []time.Duration {
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	for _, p := range pairs {
		wg.Go(func() {
			trips := p.ping(during)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, trips...)
		})
	}
	wg.Wait()
	slices.Sort(all)
	return all
}

// ping signals 40 times a second, below a node's limit.
func (p *pinger) ping(during time.Duration) (trips []time.Duration) {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for n := uint64(0); n < uint64(during/(25*time.Millisecond)); n++ {
		<-tick.C
		start := time.Now()
		number := binary.BigEndian.AppendUint64(nil, n)
		p.a.send(&signaling.Signal{To: p.nb, Sealed: number})
		if !p.b.awaits(number) {
			return trips
		}
		p.b.send(&signaling.Signal{To: p.na, Sealed: number})
		if !p.a.awaits(number) {
			return trips
		}
		trips = append(trips, time.Since(start))
	}
	return trips
}

// awaits skips frames up to the signal.
func (c *wsClient) awaits(sealed []byte) bool {
	for {
		m, err := c.read()
		if err != nil {
			c.t.Errorf("a member is lost: %v", err)
			return false
		}
		if s, ok := m.(*signaling.Signal); ok && bytes.Equal(s.Sealed, sealed) {
			return true
		}
	}
}

// at is a percentile of sorted durations.
func at(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(10 * time.Microsecond)
}
