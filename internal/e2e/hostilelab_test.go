package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// hostileLab is three machines at a hostile hub, which are honest and connected:
//
//	a ── NAT ──┐
//	b ── NAT ──┼── hub
//	c ─────────┘
type hostileLab struct {
	*setup
	evil    *hostileHub
	a, b, c *Node // a made the network
	m       *Node // joins under attack
	network config.NetworkPrivateKey
}

func newHostileLab(t *testing.T) *hostileLab {
	t.Helper()
	l := &hostileLab{setup: newSetupFor(t, 3*time.Minute, "debug", "--plain-http")}
	l.evil = startHostileHub(t, l.hubHost, l.hub)
	l.hub.Link = l.evil.Link // for all that use the setup
	l.a, l.b, l.c = l.rig.Node(l.place("port", "a")), l.rig.Node(l.place("port", "b")), l.rig.Node(l.place("public", "c"))
	invite := l.create(l.a)
	var work sync.WaitGroup
	errs := make([]error, 2)
	work.Go(func() { _, errs[0] = l.b.Up(l.ctx, invite) })
	another := l.invite(l.a)
	work.Go(func() { _, errs[1] = l.c.Up(l.ctx, another) })
	work.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, pair := range [][2]*Node{{l.a, l.b}, {l.a, l.c}, {l.b, l.c}} {
		if err := pair[0].FirstPing(l.ctx, l.addr(pair[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.network.SetSeed(l.disk(l.a).NetworkSeed); err != nil {
		t.Fatal(err)
	}
	return l
}

// onDisk is what the tests take from a node's disk: its keys.
type onDisk struct {
	NodeKey     []byte            `json:"node_key"`
	SealingKey  []byte            `json:"sealing_key"`
	Network     config.NetworkKey `json:"network"`
	NetworkSeed []byte            `json:"network_key_secret"`
	Proof       [][]byte          `json:"proof"`
}

func (l *hostileLab) disk(n *Node) (d onDisk) {
	l.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.State(), "node.json"))
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return d
}

// record is a node's own.
func (l *hostileLab) record(n *Node) *signaling.SignedRecord {
	l.t.Helper()
	proof := l.disk(n).Proof
	return must(signaling.ParseRecord(l.network.Public(), proof[len(proof)-1]))
}

// key is a node's own.
func (l *hostileLab) key(n *Node) (k config.NodePrivateKey) {
	l.t.Helper()
	if err := k.SetSeed(l.disk(n).NodeKey); err != nil {
		l.t.Fatal(err)
	}
	return k
}

// seat is a node's connection to the hub.
func (l *hostileLab) seat(n *Node) *seat {
	l.t.Helper()
	s, err := l.evil.seat(l.ctx, l.key(n).Public())
	if err != nil {
		l.t.Fatalf("%s does not come to the hub: %v", n.Name, err)
	}
	return s
}

// addr is a node's IPv4 address inside the tunnel.
func (l *hostileLab) addr(n *Node) netip.Addr {
	l.t.Helper()
	s, err := n.Status(l.ctx)
	if err != nil || len(s.Self.Addresses) == 0 {
		l.t.Fatal(n.Name, err)
	}
	return s.Self.Addresses[0]
}

// nodes is the list of members as a node shows it, without who is online: that
// the hub may lie about.
func (l *hostileLab) nodes(n *Node) map[string]tunnel.NodeInfo {
	l.t.Helper()
	out, err := n.Run(l.ctx, "nodes", "--json")
	var list []tunnel.NodeInfo
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	byName := make(map[string]tunnel.NodeInfo)
	for _, n := range list {
		n.Online = false
		byName[n.Name] = n
	}
	return byName
}

// until asks again until ok; it fails the test after the time given.
func (l *hostileLab) until(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > limit || l.ctx.Err() != nil {
			t.Errorf("not within %v: %s", limit, what)
			break
		}
	}
	return time.Since(start)
}

// attack runs one attack on honest machines between which pings go on: 50 a
// second each way. Nobody is to lose one, or to know other members than before.
func (l *hostileLab) attack(name string, f func(t *testing.T)) {
	l.t.Helper()
	l.t.Run(name, func(t *testing.T) {
		before := []map[string]tunnel.NodeInfo{l.nodes(l.a), l.nodes(l.b)}
		flows := []*flow{l.ping(t, l.a, l.b), l.ping(t, l.b, l.a)}
		f(t)
		time.Sleep(time.Second) // what comes of it may take its time
		for _, f := range flows {
			f.end(t)
		}
		for i, n := range []*Node{l.a, l.b} {
			if after := l.nodes(n); !reflect.DeepEqual(before[i], after) {
				t.Errorf("members at %s: %v, before %v", n.Name, after, before[i])
			}
		}
	})
}

// warned checks that a node has told of a kind of attack, once, and counted it.
func (l *hostileLab) warned(t *testing.T, n *Node, kind string, least uint64) {
	t.Helper()
	l.until(t, 5*time.Second, fmt.Sprintf("%s counts %d of %s", n.Name, least, kind), func() bool {
		s, err := n.Status(l.ctx)
		return err == nil && s.Refused[kind] >= least
	})
	if got := count(n.Log(), "level=WARN", kind+" refused"); got != 1 {
		t.Errorf("%s tells of %q %d times, want once", n.Name, kind, got)
	}
}

// counted is how often a node has refused a kind so far.
func (l *hostileLab) counted(n *Node, kind string) uint64 {
	l.t.Helper()
	s, err := n.Status(l.ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	return s.Refused[kind]
}

// count counts the lines that hold all of the words.
func count(text string, words ...string) (n int) {
lines:
	for line := range strings.Lines(text) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		n++
	}
	return n
}

// flow is pings from one machine to another, one each 20 ms.
type flow struct {
	name string
	conn *icmp.PacketConn
	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex // guards what follows
	sent    int
	waiting map[int]time.Time // sequence numbers without an answer
}

func (l *hostileLab) ping(t *testing.T, from, to *Node) *flow {
	t.Helper()
	addr := l.addr(to)
	conn, err := from.pinger(addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.ctx)
	f := &flow{name: from.Name + " to " + to.Name, conn: conn, stop: cancel, waiting: make(map[int]time.Time)}
	id := os.Getpid()&0xff<<8 | int(addr.As4()[3])
	f.work.Go(func() { f.send(ctx, id, addr) })
	go f.receive(id)
	return f
}

func (f *flow) send(ctx context.Context, id int, to netip.Addr) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for seq := 1; ; seq++ {
		m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq, Data: make([]byte, 32)}}
		b, _ := m.Marshal(nil) // IPv4 only, which cannot fail
		f.mu.Lock()
		f.sent++
		f.waiting[seq] = time.Now()
		f.mu.Unlock()
		f.conn.WriteTo(b, &net.IPAddr{IP: to.AsSlice()})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// receive ends when the connection is closed.
func (f *flow) receive(id int) {
	buf := make([]byte, 1500)
	for {
		size, _, err := f.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		m, err := icmp.ParseMessage(ipv4.ICMPTypeEchoReply.Protocol(), buf[:size])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		if echo, ok := m.Body.(*icmp.Echo); ok && echo.ID == id {
			f.mu.Lock()
			delete(f.waiting, echo.Seq)
			f.mu.Unlock()
		}
	}
}

// lost is how many have no answer.
func (f *flow) lost() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waiting)
}

// end stops it, and fails the test for each ping that was lost.
func (f *flow) end(t *testing.T) {
	t.Helper()
	f.stop()
	f.work.Wait()
	for end := time.Now().Add(2 * time.Second); f.lost() > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond) // the last ones are on their way
	}
	f.conn.Close()
	if n := f.lost(); n > 0 {
		t.Errorf("%s: %d of %d pings were lost", f.name, n, f.sent)
	}
}
