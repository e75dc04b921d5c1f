package tunnel

import (
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/peer"
	wgdevice "golang.zx2c4.com/wireguard/device"
)

// TestQuietSideSpeaks: a tunnel without data says in time that this side is there.
func TestQuietSideSpeaks(t *testing.T) {
	checkLeaks(t)
	a, b := newSides(t)
	connect(a, b)
	a.ping(t, b, 1)
	b.ping(t, a, 2)
	there, addr := listenUDP(t, "127.0.0.1:0")
	a.peer.SetPath(Path{Remote: addr})
	m := &active{member: &member{before: before{events: new(peer.Events)}}, keys: a.keys, session: peer.New(peer.Config{})}
	m.wg.Store(a.dev.LookupPeer(wgdevice.NoisePublicKey(a.otherKey)))
	m.pathAt.Store(1)
	n, now, last := new(Node), time.Now(), traffic{rx: 1, tx: 1}
	n.pollMember(now, m, last)
	n.pollMember(now.Add(keepalive-tick-1), m, last)
	if m.spoke != now {
		t.Errorf("it speaks after %v", m.spoke.Sub(now))
	}
	n.pollMember(now.Add(keepalive-tick), m, last)
	there.SetReadDeadline(time.Now().Add(patience))
	if k, err := there.Read(make([]byte, 1500)); err != nil || k != wgdevice.MessageKeepaliveSize {
		t.Errorf("%d bytes, %v: want a keepalive", k, err)
	}
}
