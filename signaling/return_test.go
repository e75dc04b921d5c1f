package signaling_test

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/signaling/hub"
)

var (
	nodes    = flag.Int("nodes", 80, "in TestReturn; the figures of 1,000 are worth having, on an idle machine")
	networks = flag.Int("networks", 20, "of them, in TestReturn")
)

// hubAt names, in the environment of a child of the test, where a hub listens and
// has its state: a process of its own can be killed, and its use measured.
const hubAt = "P2PTUN_TEST_HUB"

func TestMain(m *testing.M) {
	flag.Parse()
	if at := os.Getenv(hubAt); at != "" {
		serveHub(at)
		return
	}
	os.Exit(m.Run())
}

func serveHub(at string) {
	listen, state, _ := strings.Cut(at, " ")
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	h, err := hub.New(hub.Config{
		Listen: listen, TURNListen: ":0", State: state, PublicAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("up")
	_ = h.Run(ctx)
}

// hubProcess is a hub that can be killed.
type hubProcess struct {
	*exec.Cmd
	t *testing.T
}

func startHubProcess(t *testing.T, listen, state string) *hubProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), hubAt+"="+listen+" "+state)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &hubProcess{cmd, t}
	t.Cleanup(p.kill)
	said := make([]byte, 200)
	if n, _ := out.Read(said); string(said[:n]) != "up\n" {
		t.Fatalf("the hub says %s", said[:n])
	}
	return p
}

func (p *hubProcess) kill() {
	p.Process.Kill()
	p.Wait()
}

// used is what the process has taken so far.
func (p *hubProcess) used() string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	peak := "?"
	for line := range strings.Lines(string(b)) {
		if s, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			peak = strings.TrimSpace(s)
		}
	}
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	var user, system int // in 1/100 s, the 14th and 15th field
	if f := strings.Fields(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):])); len(f) > 12 {
		fmt.Sscan(f[12], &user)
		fmt.Sscan(f[13], &system)
	}
	return fmt.Sprintf("%v of processors, %s at most", time.Duration(user+system)*10*time.Millisecond, peak)
}

// one is a node of the many.
type one struct {
	*signaling.Client
	key      config.NodePrivateKey
	up       atomic.Int64 // when it was welcomed last, Unix nanoseconds
	since    atomic.Uint64
	refused  atomic.Int32
	complete chan struct{} // gets one when all of a greeting has come
	signals  chan []byte
}

func (o *one) handle(m signaling.Message) {
	switch m := m.(type) {
	case *signaling.Welcome:
		o.up.Store(time.Now().UnixNano())
	case *signaling.Members:
		o.since.Store(m.Sequence)
	case *signaling.Credentials:
		o.complete <- struct{}{}
	case *signaling.Signal:
		select {
		case o.signals <- m.Sealed:
		default:
		}
	case *signaling.Down:
		if s := m.Err.Error(); strings.Contains(s, "429") || strings.Contains(s, "refused:") {
			o.refused.Add(1)
		}
	}
}

// start runs the node until the test ends. It comes from an address of its own.
func (o *one) start(t *testing.T, link config.HubLink, network config.NetworkPrivateKey, n int, from string) {
	t.Helper()
	r := signaling.Record{Node: o.key.Public(), Sequence: 1, Name: fmt.Sprintf("n%d", n), IPv4: netip.AddrFrom4([4]byte{10, 70, byte(n >> 8), byte(n)})}
	rand.Read(r.WireGuard[:])
	rand.Read(r.Sealing[:])
	record, err := signaling.NetworkAdmin(network).Record(r)
	if err != nil {
		t.Fatal(err)
	}
	o.Client = signaling.NewClient(signaling.ClientConfig{
		Hub: link.Hub, Network: network.Public(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Self: &signaling.Self{Network: network.Public().ID(), Node: o.key, Epoch: signaling.NewEpoch(1)},
		Credential: func() signaling.Credential {
			return signaling.Credential{Proof: [][]byte{record.Bytes()}, Access: link.Access[:], Since: o.since.Load()}
		},
		Handle: o.handle,
	})
	local := &net.TCPAddr{IP: net.ParseIP(from)}
	o.SetDial((&net.Dialer{LocalAddr: local}).DialContext)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = o.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// TestReturn: hundreds of nodes are connected, a tenth of them behind one
// NAT; the hub is killed, and comes back. All are back soon, none is turned away,
// and what others have to say passes.
func TestReturn(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 8 s")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen, state := l.Addr().String(), t.TempDir()
	l.Close()
	h := startHubProcess(t, listen, state)
	link, err := hub.ReadLink(state)
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]config.NetworkPrivateKey, *networks)
	for i := range keys {
		keys[i] = config.NewNetworkKey()
	}
	all := make([]*one, *nodes)
	begin := time.Now()
	for n := range all {
		from := fmt.Sprintf("127.1.%d.%d", n>>8, n&255)
		if n < *nodes/10 {
			from = "127.2.0.1"
		}
		all[n] = &one{key: config.NewNodeKey(), complete: make(chan struct{}, 100), signals: make(chan []byte, 1)}
		all[n].start(t, link, keys[n%*networks], n, from)
		if n%20 == 19 {
			<-all[n].complete
			all[n].complete <- struct{}{}
		}
	}
	greeted := func() {
		t.Helper()
		late := time.After(time.Minute)
		for n, o := range all {
			select {
			case <-o.complete:
			case <-late:
				t.Fatalf("node %d is not connected", n)
			}
		}
	}
	greeted()
	t.Logf("connected in %v: %s", time.Since(begin).Round(time.Millisecond), h.used())
	for _, o := range all {
		o.refused.Store(0)
	}

	h.kill()
	time.Sleep(2 * time.Second) // what the test is about
	h = startHubProcess(t, listen, state)
	back := time.Now()
	trips := pingWhile(all[0], all[*networks], 4*time.Second)
	greeted()
	var took []time.Duration
	refused := int32(0)
	for _, o := range all {
		took = append(took, time.Unix(0, o.up.Load()).Sub(back))
		refused += o.refused.Load()
	}
	slices.Sort(took)
	slices.Sort(trips)
	t.Logf("back after %v (half of them), %v (99 of 100), %v (all); all of the greeting by %v",
		took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond),
		time.Since(back).Round(time.Millisecond))
	t.Logf("the hub: %s", h.used())
	if worst := took[len(took)-1]; worst > 4*time.Second {
		t.Errorf("the last is back after %v, want 4 s at most", worst)
	}
	if refused > 0 {
		t.Errorf("%d times one was turned away", refused)
	}
	if len(trips) == 0 {
		t.Fatal("no signal passed meanwhile")
	}
	t.Logf("%d signals passed meanwhile, in %v at most", len(trips), trips[len(trips)-1].Round(time.Millisecond))
	if worst := trips[len(trips)-1]; worst > time.Second {
		t.Errorf("a signal took %v, want 1 s at most", worst)
	}
}

// pingWhile has a signal b every 20 ms, once both are connected, and returns how long
// each that arrived took.
func pingWhile(a, b *one, d time.Duration) (trips []time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		sent := time.Now()
		if !a.Send(&signaling.Signal{To: b.key.Public(), Sealed: []byte("ping")}) {
			continue
		}
		select {
		case <-b.signals:
			trips = append(trips, time.Since(sent))
		case <-time.After(2 * time.Second): // b is not there yet
		}
	}
	return trips
}
