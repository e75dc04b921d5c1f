package tunnel

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
	wgdevice "golang.zx2c4.com/wireguard/device"
)

// active is what there is of a member while something is to be said to it: its
// ICE session, and its end of the tunnel. See idle.go for how that ends.
type active struct {
	*member
	node     config.NodeKey // the member's, for its session's goroutine
	pairing  *pairing       // what its datagrams are marked with
	session  *peer.Peer
	endpoint *Endpoint
	keys     *keyRing
	mtu      *memberMTU
	wg       atomic.Pointer[wgdevice.Peer]
	stop     context.CancelFunc
	lower    bool // our node key is the lower one: we prompt handshakes

	counted  traffic   // by the device
	heard    time.Time // when an authenticated packet last came; zero: never
	heardNS  atomic.Int64
	spoke    time.Time    // when this side last sent something
	pathAt   atomic.Int64 // when the path last changed, Unix nanoseconds
	prompted time.Time    // when a handshake was last prompted
	refused  refused
	idle     idle
	told     bool         // the session was told that the member can be reached
	atHub    atomic.Bool  // the hub says that the member is connected to it
	wantedNS atomic.Int64 // when data for it waited or passed last

	tell     func([]byte) // sends a note, see gossip.go
	notes    int          // sent; the session's goroutine owns it
	compared time.Time    // when what both know was last compared
}

// activate makes the session and the tunnel's end for a member, if there is none,
// and lets its packets through. It returns nil where that fails.
func (n *Node) activate(m *member) *active {
	if m.active != nil {
		return m.active
	}
	if m.pair == nil {
		m.pair, m.limits = signaling.NewPair(n.self, &m.record.Record), newLimits()
		m.pair.SetRemoteEpoch(m.epoch) // of an earlier run of ours, maybe
	}
	m.whereabouts()
	if m.ended != nil {
		<-m.ended // soon: it was told to end; the pair is for one at a time
	}
	if m.events == nil {
		m.events, m.wasOnline = new(peer.Events), m.online
	}
	node, now := m.record.Node, time.Now()
	a := &active{member: m, node: node, pairing: n.sealed.pairing(m.record), lower: m.pair.Lower(), idle: idle{since: now, used: now}}
	log := n.log.With("peer", m.record.Name)
	a.endpoint = n.tunnel.bind.NewEndpoint(m.record.IPv4, func() { a.session.Wake() })
	a.endpoint.node = node
	if a.lower {
		a.endpoint.Lead()
	}
	a.mtu = newMemberMTU(n.tunnel.iface.SetMTU, m.record.Addresses(n.self.Network), log)
	a.keys = n.newKeyRing(a, log)
	a.endpoint.keys = a.keys
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	a.session = peer.New(peer.Config{
		Underlay: n.tunnel.underlay, Pair: m.pair, Log: log, Events: m.events,
		Controlling: a.lower, Offerer: a.lower, Keys: a.keys,
		Send:      func(sealed []byte) { n.send(a, sealed) },
		SendNote:  func(sealed []byte) { n.sendNote(a, sealed) },
		OnPath:    a.setPath,
		OnMTU:     a.mtu.carries,
		OnSource:  a.source,
		Handshake: a.initiation, OnHandshake: a.endpoint.handshakeCame,
		OnHope:    func(p peer.Path) { a.endpoint.hopeFor(pathOf(p), false) },
		OnSession: func(clock time.Time) { a.ways.answered(); n.later(ctx, a, func() { n.met(a, clock) }) },
		OnNote:    func(note []byte) { n.later(ctx, a, func() { n.told(a, note) }) },
		OnBye:     func() { n.later(ctx, a, func() { n.left(a) }) },
		Alive:     func() time.Time { return later(unixNano(a.heardNS.Load()), unixNano(a.door.heard.Load())) },
		Tunnel:    n.newPassage(a),
	})
	m.door.told.Store(a.session)
	a.tell = a.session.Tell
	a.endpoint.onHandshake = a.session.SendHandshake
	a.endpoint.onLarge = a.session.Large
	if err := a.keys.give(func(k config.PresharedKey) error { return n.configurePeer(a, k) }); err != nil {
		n.log.Error("peer not configured", "peer", m.record.Name, "err", err)
		cancel()
		n.tunnel.bind.RemoveEndpoint(a.endpoint)
		return nil
	}
	m.ended = make(chan struct{})
	ended := m.ended
	n.running.Go(func() {
		defer close(ended)
		if err := a.session.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error("session ended", "err", err)
		}
	})
	m.active, n.active[node] = a, a
	n.noteKnown(now)
	n.tunnel.gate.open(m.door)
	return a
}

// deactivate ends the session and the tunnel to a member.
func (n *Node) deactivate(a *active) {
	m := a.member
	delete(n.active, m.record.Node)
	m.active = nil
	n.noteKnown(time.Now())
	if !a.idle.kept.IsZero() {
		n.seek = time.Time{}
	}
	m.traffic = m.traffic.plus(a.counted)
	n.tunnel.gate.shut(m.door)
	m.door.told.Store(nil)
	a.stop()
	a.keys.close()
	a.mtu.close()
	n.tunnel.wg.RemovePeer(wgdevice.NoisePublicKey(m.record.WireGuard))
	n.tunnel.bind.RemoveEndpoint(a.endpoint)
}

// met is called when a session with a member begins.
func (n *Node) met(a *active, clock time.Time) {
	n.prove(a)
	n.askAgain(a)
	a.idle.met(time.Now())
	a.tellKept(0)
	n.confirm(a.record.Node, clock)
	n.tellDigest(a)
	for h := range n.offers {
		if h.keeper == a.record.Node {
			n.tellOffer(h)
		}
	}
}

// newKeyRing returns the member's keys, with what was stored of them.
func (n *Node) newKeyRing(m *active, log *slog.Logger) *keyRing {
	node, key, wg := m.record.Node, m.record.WireGuard, n.tunnel.wg
	r := newKeyRing(n.keys.Get(node), log)
	r.install = func(k config.PresharedKey) error {
		return wg.IpcSet(presharedConfig(key, k) + "update_only=true\n")
	}
	r.save = func(keys config.PeerKeys) func() error { return n.keys.Put(node, keys) }
	r.again = func(response []byte) { m.endpoint.bind.enqueue(m.endpoint, response) }
	return r
}

// presharedConfig names a peer to the device, and its preshared key.
func presharedConfig(peer config.WireGuardKey, k config.PresharedKey) string {
	return fmt.Sprintf("public_key=%s\npreshared_key=%s\n", hex.EncodeToString(peer[:]), hex.EncodeToString(k.Seed()))
}

// configurePeer tells WireGuard of the member. Its addresses come from the
// signed record alone.
func (n *Node) configurePeer(m *active, key config.PresharedKey) error {
	uapi := presharedConfig(m.record.WireGuard, key)
	uapi += fmt.Sprintf("endpoint=%s\npersistent_keepalive_interval=%d\n", m.endpoint.DstToString(), int(keepalive.Seconds()))
	uapi += n.allowedIPs(m.member)
	if err := n.tunnel.wg.IpcSet(uapi); err != nil {
		return err
	}
	m.wg.Store(n.tunnel.wg.LookupPeer(wgdevice.NoisePublicKey(m.record.WireGuard)))
	return nil
}

// allowedIPs are the member's addresses as the device takes them.
func (n *Node) allowedIPs(m *member) string {
	uapi := "replace_allowed_ips=true\n"
	for _, a := range n.addresses(m) {
		uapi += fmt.Sprintf("allowed_ip=%s\n", netip.PrefixFrom(a, a.BitLen()))
	}
	return uapi
}

// setPath puts a proved path under the peer; called on the session's
// goroutine.
func (m *active) setPath(p peer.Path) {
	m.endpoint.SetPath(pathOf(p))
	m.pathAt.Store(time.Now().UnixNano())
	if m.lower || m.heardNS.Load() != 0 {
		m.wg.Load().SendKeepalive() // a handshake where there is no session, else a proof of the path
	}
}

// relayOf keeps a nil *peer.Relay a nil Relay.
func relayOf(r *peer.Relay) Relay {
	if r == nil {
		return nil
	}
	return r
}

func unixNano(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
