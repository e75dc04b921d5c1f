package tunnel

import (
	"encoding/hex"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
	wgdevice "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// newQuietNode is a node whose hub and interface nobody serves, and that knows so
// many others, who are online.
func newQuietNode(t *testing.T, others int) (*Node, []*member) {
	t.Helper()
	l := newGossipLab(t, "a")
	n := l.nodes["a"].Node
	var err error
	if n.keys, err = n.cfg.Dir.OpenKeys(n.log); err != nil {
		t.Fatal(err)
	}
	n.present = make(map[config.NodeKey]signaling.Epoch)
	n.idleAfter, n.neighbours, n.link.up = idleAfter, neighbours, true
	n.node.Prefix = netip.MustParsePrefix("10.77.0.0/16")
	n.self.Epoch = 1

	d := &device{bind: NewBind(BindConfig{Handler: &countingHandler{}})}
	d.underlay = peer.NewUnderlay(peer.UnderlayConfig{Socket: d.bind, Port: 1})
	d.gate = newGate(tuntest.NewChannelTUN().TUN())
	d.wg = wgdevice.NewDevice(d.gate, d.bind, wireGuardLogger(slog.New(slog.DiscardHandler), d.bind.refused))
	key := config.NewWireGuardKey()
	if err := d.wg.IpcSet("private_key=" + hex.EncodeToString(key.Seed()) + "\n"); err != nil {
		t.Fatal(err)
	}
	n.tunnel = d
	sealing := config.NewSealingKey()
	for i := range others {
		node := config.NewNodeKey().Public()
		rec := l.record(node, "n", i+2)
		rec.Sealing, rec.WireGuard = sealing.Public(), config.NewWireGuardKey().Public()
		n.roster.Merge(rec.Bytes())
		n.present[node] = 1
		n.addMember(rec)
	}
	n.setDoors()
	var members []*member
	for _, m := range n.members {
		members = append(members, m)
	}
	t.Cleanup(func() {
		for _, m := range members {
			if n.members[m.record.Node] != nil {
				n.endMember(m)
			}
		}
		n.running.Wait()
		d.wg.Close()
	})
	return n, members
}

// A node has three neighbours of those that are online, whatever comes, and
// another for one that is not heard.
func TestNeighbours(t *testing.T) {
	n, members := newQuietNode(t, 50)
	kept := func() (all []*active) {
		for _, a := range n.active {
			if !a.idle.kept.IsZero() {
				all = append(all, a)
			}
		}
		return all
	}
	now := time.Now()
	for range 3 {
		n.setPresent(members[0].record.Node, 1)
		n.chooseNeighbours(now)
		if len(kept()) != neighbours || len(n.active) != neighbours {
			t.Fatalf("%d neighbours and %d active members, want %d", len(kept()), len(n.active), neighbours)
		}
	}
	all := kept()
	lost := all[0]
	for _, a := range all[1:] {
		a.heard = now
	}
	lost.idle.kept, lost.idle.used = now.Add(-lively), now.Add(-idleAfter)
	n.pollActive(now)
	n.pollActive(now)
	if len(kept()) != neighbours || lost.member.active != nil {
		t.Errorf("%d neighbours, the silent one among them: %v", len(kept()), lost.member.active != nil)
	}
	if lost.eligible(now) || !lost.eligible(now.Add(shunFor+time.Second)) {
		t.Error("the one that was lost is chosen again at once, or never")
	}
}

// A node is a neighbour of so many, and no more.
func TestKeptByMany(t *testing.T) {
	n, members := newQuietNode(t, keptByMost+5)
	count := 0
	for _, m := range members {
		a := n.activate(m)
		n.told(a, []byte{noteNeighbour, 0})
		n.told(a, []byte{noteNeighbour, 0})
		if a.idle.keptBy {
			count++
		}
	}
	if count != keptByMost {
		t.Errorf("neighbour of %d, want %d", count, keptByMost)
	}
}

// Offers that are made up cost a session for a while, at most so many at once;
// anything else costs nothing. Nothing is left of it.
func TestMadeUpOffers(t *testing.T) {
	n, members := newQuietNode(t, maxUnproved+30)
	before := runtime.NumGoroutine()
	for _, m := range members {
		n.receive(&signaling.Signal{From: m.record.Node, Sealed: append([]byte{2}, make([]byte, 2000)...)})
		n.receive(&signaling.Signal{From: m.record.Node, Sealed: append([]byte{3}, make([]byte, 2000)...)})
	}
	if len(n.active) != 0 {
		t.Errorf("%d members are active for nothing", len(n.active))
	}
	for _, m := range members {
		n.receive(&signaling.Signal{From: m.record.Node, Sealed: append([]byte{1}, make([]byte, 2000)...)})
	}
	if len(n.active) != maxUnproved {
		t.Errorf("%d members are active, want %d", len(n.active), maxUnproved)
	}
	if a := n.activate(members[0]); a == nil {
		t.Fatal("not activated")
	}
	n.want(members[0]) // this one is needed
	for _, a := range n.active {
		n.pollIdle(time.Now().Add(proveFor), a)
	}
	if len(n.active) != 1 || members[0].active == nil {
		t.Errorf("%d members are active, want the one that is needed", len(n.active))
	}
	n.deactivate(members[0].active)
	n.running.Wait()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
	if text, err := n.tunnel.wg.IpcGet(); err != nil || strings.Contains(text, "public_key=") {
		t.Errorf("the device has peers: %s, %v", text, err)
	}
}

// A tunnel ends when both sides say so, and what waited begins another; it stays
// when the other side says nothing, or data comes.
func TestLeave(t *testing.T) {
	n, members := newQuietNode(t, 1)
	m := members[0]
	leave := func() *active {
		t.Helper()
		a := n.activate(m)
		n.prove(a)
		now := time.Now()
		a.heard, a.idle.used = now, now.Add(-idleAfter)
		n.pollIdle(now, a)
		if m.active != a || a.idle.leaving.IsZero() || m.door.open.Load() {
			t.Fatal("does not ask the other side, or sends on")
		}
		return a
	}
	// stays says that the tunnel was kept.
	stays := func(a *active) {
		t.Helper()
		if m.active != a || !a.idle.leaving.IsZero() || !m.door.open.Load() {
			t.Fatal("the tunnel did not stay")
		}
	}
	a := leave()
	n.pollIdle(time.Now().Add(leaveFor), a)
	stays(a)

	a = leave()
	a.endpoint.use(dataPackets([]int{100})[0])
	n.pollIdle(time.Now(), a)
	stays(a)

	n.told(a, []byte{noteLeave}) // data came just now
	stays(a)

	a = leave()
	n.link.up = false
	n.told(a, []byte{noteLeave}) // it was said before
	n.link.up = true
	n.pollIdle(time.Now(), a)
	if m.active != a {
		t.Fatal("ended at once, with packets on their way")
	}
	n.tunnel.gate.keep(m.door, packetTo(idleA, 1, 100))
	n.pollIdle(time.Now().Add(onItsWay), a)
	if m.active == nil || m.active == a {
		t.Fatal("what waited did not begin another tunnel")
	}

	bufs, sizes, _ := newBatch()
	n.tunnel.gate.take(bufs, sizes, 0) // if the device was not there first: nothing wakes it here
	a = m.active
	a.heard, a.idle.used = time.Now(), time.Now().Add(-idleAfter)
	n.told(a, []byte{noteLeave})
	if a.idle.agreed.IsZero() || m.door.open.Load() {
		t.Fatal("does not agree, or sends on")
	}
	n.pollIdle(time.Now().Add(onItsWay), a)
	if m.active != nil || len(n.active) != 0 {
		t.Error("the tunnel did not end")
	}
}
