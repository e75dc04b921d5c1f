package e2e

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
)

// What a node may cost that knows a thousand others, who are online and say
// nothing.
const (
	thousand           = 1000
	thousandRSS        = 40 << 20 // bytes, of the whole process
	thousandGoroutines = 100
	thousandPackets    = 1.0              // a second, UDP, both ways
	thousandFor        = 20 * time.Second // the period of keepalives and probes
)

// TestThousandIdle: a thousand members that are online cost a node next to
// nothing. They exist in statements and presence alone, which the hub tells; one
// real machine is the node's neighbour, and comes to rest in seconds instead of
// minutes. The other neighbours do not answer, and are tried in vain.
func TestThousandIdle(t *testing.T) {
	s := newSetupFor(t, 3*time.Minute, "info", "--plain-http")
	var err error
	if s.rig.Bin, err = restingBinary(); err != nil {
		t.Fatal(err)
	}
	l := &hostileLab{setup: s, evil: startHostileHub(t, s.hubHost, s.hub)}
	l.hub.Link = l.evil.Link
	a, b := l.rig.Node(l.place("port", "a")), l.rig.Node(l.place("port", "b"))
	p, err := a.StartUp(l.ctx, "--new", "home", "--hub", l.hub.Link, "--prefix", prefix.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.waitHub(a, true); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Up(l.ctx, l.invite(a)); err != nil {
		t.Fatal(err)
	}
	if err := l.network.SetSeed(l.disk(a).NetworkSeed); err != nil {
		t.Fatal(err)
	}
	seat := l.seat(a)
	statements, online := crowd(t, l.network, thousand)
	for page := range slices.Chunk(statements, 16) {
		seat.tell(&signaling.Members{Statements: page, More: true})
	}
	for page := range slices.Chunk(online, 100) {
		seat.tell(&signaling.Presence{Online: page})
	}
	l.until(t, 30*time.Second, "a knows all", func() bool { return onlineAt(l, a) == thousand+1 })
	l.until(t, time.Minute, "b has heard of all from a", func() bool { return len(s.nodes(b)) >= thousand+2 })
	l.waitRest(a, b)

	// Its garbage collector has its own pace; this is what is needed.
	heap := used(t, a, p.PID()).Heap
	wire := sniff(t, a.Host)
	time.Sleep(thousandFor)
	packets := 0
	frames := wire.stop()
	for _, f := range frames {
		if udp(f) != nil {
			packets++
		}
	}
	perSecond := float64(packets) / thousandFor.Seconds()
	resident, err := Resident(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	anonymous, routines := rss(t, p.PID()), used(t, a, p.PID()).Goroutines
	t.Logf("thousand idle: rss_mb=%.1f rss_anon_mb=%.1f heap_mb=%.1f goroutines=%d packets_per_s=%.2f frames_per_s=%.2f", mib(resident), mib(anonymous), mib(heap),
		routines, perSecond, float64(len(frames))/thousandFor.Seconds())
	if resident > thousandRSS {
		t.Errorf("%.1f MiB resident, want at most %.1f", mib(resident), mib(thousandRSS))
	}
	if routines > thousandGoroutines {
		t.Errorf("%d goroutines, want at most %d", routines, thousandGoroutines)
	}
	if perSecond >= thousandPackets {
		t.Errorf("%.2f packets a second, want less than %v", perSecond, thousandPackets)
	}
	l.reach(a, address(1))
}

// crowd makes members: what an admin says of each, and their word that they are
// there.
func crowd(t *testing.T, network config.NetworkPrivateKey, size int) (statements [][]byte, online []signaling.Online) {
	t.Helper()
	admin, id := signaling.NetworkAdmin(network), network.Public().ID()
	for i := range size {
		node := config.NewNodeKey()
		r := signaling.Record{
			Node: node.Public(), Sequence: 1, Name: fmt.Sprintf("crowd-%d", i), IPv4: netip.AddrFrom4([4]byte{10, 77, byte(10 + i>>8), byte(i)}),
			WireGuard: config.NewWireGuardKey().Public(),
		}
		sealing := config.NewSealingKey()
		r.Sealing = sealing.Public()
		if i > 0 { // making such a key takes a while, and nobody opens anything here
			rand.Read(r.Sealing[:])
		}
		rec, err := admin.Record(r)
		if err != nil {
			t.Fatal(err)
		}
		statements = append(statements, rec.Bytes())
		online = append(online, signaling.Online{Node: r.Node, Epoch: 1, Signature: signaling.SignPresence(node, id, 1)})
	}
	return statements, online
}

// onlineAt counts the peers that a node shows online.
func onlineAt(l *hostileLab, n *Node) (count int) {
	var s *tunnel.Status
	s, err := n.Status(l.ctx)
	if err != nil {
		return 0
	}
	for _, p := range s.Peers {
		if p.Online {
			count++
		}
	}
	return count
}
