package tunnel

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
	wgdevice "golang.zx2c4.com/wireguard/device"
)

// member is another node: its record, its ICE session, and its end of the
// tunnel.
type member struct {
	record   *signaling.SignedRecord
	session  *peer.Peer
	endpoint *Endpoint
	keys     *keyRing
	mtu      *memberMTU
	wg       atomic.Pointer[wgdevice.Peer]
	stop     context.CancelFunc
	lower    bool // our node key is the lower one: we prompt handshakes

	online   bool // as the hub says
	traffic  traffic
	heard    time.Time // when an authenticated packet last came; zero: never
	heardNS  atomic.Int64
	pathAt   atomic.Int64 // when the path last changed, Unix nanoseconds
	prompted time.Time    // when a handshake was last prompted
	refused  refused
	said     string // the path that progress last told

	tell     func([]byte) // sends a note, see gossip.go
	notes    int          // sent; the session's goroutine owns it
	compared time.Time    // when what both know was last compared
	limits
}

// addMember makes the session and the tunnel's end for a record.
func (n *Node) addMember(rec *signaling.SignedRecord) {
	if rec.Node == n.self.Node.Public() || n.tunnel == nil {
		return
	}
	if n.lapsed || !rec.Live(n.now()) {
		n.removeMember(rec.Node)
		return
	}
	if n.updateMember(rec) {
		return
	}
	pair := signaling.NewPair(n.self, &rec.Record)
	m := &member{record: rec, lower: pair.Lower(), limits: newLimits()}
	log := n.log.With("peer", rec.Name)
	m.mtu = newMemberMTU(n.tunnel.iface.SetMTU, rec.Addresses(n.self.Network), log)
	m.endpoint = n.tunnel.bind.NewEndpoint(rec.IPv4, func() { m.session.Wake() })
	if m.lower {
		m.endpoint.Lead()
	}
	m.keys = n.newKeyRing(m, log)
	m.endpoint.keys = m.keys
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	m.session = peer.New(peer.Config{
		Underlay: n.tunnel.underlay, Pair: pair, Log: log,
		Controlling: m.lower, Offerer: m.lower, Keys: m.keys,
		Send:      func(sealed []byte) { n.sendByHub(rec.Node, sealed) },
		SendNote:  func(sealed []byte) { n.sendNote(m, rec.Node, sealed) },
		OnPath:    m.setPath,
		OnMTU:     m.mtu.carries,
		OnSource:  func(r *peer.Relay, from netip.AddrPort) { m.endpoint.AddSource(relayOf(r), from) },
		OnSession: func(clock time.Time) { n.later(ctx, m, func() { n.confirm(rec.Node, clock); n.tellDigest(m) }) },
		OnNote:    func(note []byte) { n.later(ctx, m, func() { n.told(m, note) }) },
		Alive:     func() time.Time { return unixNano(m.heardNS.Load()) },
	})
	m.tell = m.session.Tell
	m.endpoint.onLarge = m.session.Large
	m.endpoint.onSealed = func(sealed []byte) { m.session.Receive(sealed) }
	if err := m.keys.give(func(k config.PresharedKey) error { return n.configurePeer(m, k) }); err != nil {
		n.log.Error("peer not configured", "peer", rec.Name, "err", err)
		cancel()
		n.tunnel.bind.RemoveEndpoint(m.endpoint)
		return
	}
	n.running.Go(func() {
		if err := m.session.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error("session ended", "err", err)
		}
	})
	n.members[rec.Node] = m
	m.setOnline(n.present[rec.Node])
}

// setOnline tells the session whether the peer is there: under an epoch, or 0.
func (m *member) setOnline(epoch signaling.Epoch) {
	m.online = epoch != 0
	m.session.SetOnline(m.online, epoch)
}

// newKeyRing returns the member's keys, with what was stored of them.
func (n *Node) newKeyRing(m *member, log *slog.Logger) *keyRing {
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

// removeMember ends the session and the tunnel to a node, and forgets its keys.
func (n *Node) removeMember(node config.NodeKey) {
	if m := n.members[node]; m != nil {
		n.endMember(m)
		n.keys.Put(node, config.PeerKeys{})
	}
}

// endMember ends the session and the tunnel to a node.
func (n *Node) endMember(m *member) {
	delete(n.members, m.record.Node)
	m.stop()
	m.keys.close()
	n.tunnel.wg.RemovePeer(wgdevice.NoisePublicKey(m.record.WireGuard))
	n.tunnel.bind.RemoveEndpoint(m.endpoint)
}

// configurePeer tells WireGuard of the member. Its addresses come from the
// signed record alone.
func (n *Node) configurePeer(m *member, key config.PresharedKey) error {
	uapi := presharedConfig(m.record.WireGuard, key)
	uapi += fmt.Sprintf("endpoint=%s\npersistent_keepalive_interval=%d\n", m.endpoint.DstToString(), int(keepalive.Seconds()))
	uapi += n.allowedIPs(m)
	if err := n.tunnel.wg.IpcSet(uapi); err != nil {
		return err
	}
	m.wg.Store(n.tunnel.wg.LookupPeer(wgdevice.NoisePublicKey(m.record.WireGuard)))
	return nil
}

// allowedIPs are the member's addresses as the device takes them: those of the
// network. A record by a hostile admin may name any machine's.
func (n *Node) allowedIPs(m *member) string {
	uapi := "replace_allowed_ips=true\n"
	for _, a := range m.record.Addresses(n.self.Network) {
		if a.Is4() && !n.node.Prefix.Contains(a) {
			continue
		}
		uapi += fmt.Sprintf("allowed_ip=%s\n", netip.PrefixFrom(a, a.BitLen()))
	}
	return uapi
}

// setPath puts a proved path under the peer; called on the session's
// goroutine.
func (m *member) setPath(p peer.Path) {
	m.endpoint.SetPath(Path{Local: p.Local, Remote: p.Remote, Relay: relayOf(p.Relay)})
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

// prompt is how long the side that does not prompt handshakes waits for the
// one that does.
const prompt = time.Second

// poll looks at WireGuard's traffic: they alone say what is alive.
func (n *Node) poll(now time.Time) {
	all := n.tunnel.traffic()
	for _, m := range n.members {
		n.pollMember(now, m, all[m.record.WireGuard])
		n.pollRefused(now, m)
	}
	if now.After(n.renew) && !n.renew.IsZero() && n.hub.Send(&signaling.Credentials{}) {
		n.renew = now.Add(time.Minute)
	}
	n.expire()
	n.followHub(now)
	n.gossip(now)
	n.tellGathered()
	n.showRecord(now)
	if n.ready.told && now.Sub(n.sync.saved) > saveEvery {
		n.saveMembers()
	}
	if n.ready.check(now, n.pending()) {
		n.cfg.Ready()
	}
}

func (n *Node) pollMember(now time.Time, m *member, c traffic) {
	completed := c.handshake.After(m.traffic.handshake)
	m.keys.settle(now, completed)
	if c.rx != m.traffic.rx || completed {
		m.heard = now
		m.heardNS.Store(now.UnixNano())
	}
	m.traffic = c
	pathAt := unixNano(m.pathAt.Load())
	if pathAt.IsZero() {
		return
	}
	if m.heard.IsZero() && now.Sub(pathAt) > prompt && now.Sub(m.prompted) > prompt {
		m.prompted = now
		m.wg.Load().SendKeepalive()
	}
	n.tellPath(m)
}

// tellGathered says under which addresses peers may reach this machine, when
// all that the hub's servers can give is there, and when it changes.
func (n *Node) tellGathered() {
	if n.renew.IsZero() {
		return // no servers yet
	}
	candidates, all := n.tunnel.underlay.Gathered()
	if !all {
		return
	}
	names := map[peer.CandidateType]string{peer.Host: "local ", peer.ServerReflexive: "public ", peer.Relayed: "relay "}
	var list []string
	for _, c := range candidates {
		list = append(list, names[c.Type]+c.Addr.String())
	}
	text := strings.Join(list, ", ")
	if text == "" {
		text = "none"
	}
	if text != n.gathered {
		n.gathered = text
		n.progress("reachable at: %s", text)
	}
}

// tellPath says when a peer is connected, and when its path changes.
func (n *Node) tellPath(m *member) {
	if m.heard.IsZero() {
		return
	}
	var text string
	switch s := m.session.Snapshot(); s.Path {
	case peer.PathDirect:
		text = "directly, at " + s.Remote.Addr.String()
	case peer.PathRelayed:
		text = "over a relay"
	default:
		return
	}
	if text == m.said {
		return
	}
	verb := "connected"
	if m.said != "" {
		verb = "now connected"
	}
	m.said = text
	n.progress("%s is %s %s", m.record.Name, verb, text)
}

// pending counts the members that are online and not connected yet.
func (n *Node) pending() int {
	count := 0
	for _, m := range n.members {
		if m.online && m.heard.IsZero() {
			count++
		}
	}
	return count
}

// nextPoll is soon while a path waits for its first authenticated packet.
func (n *Node) nextPoll() time.Duration {
	if !n.ready.told {
		return fastTick
	}
	now := time.Now()
	for _, m := range n.members {
		if at := unixNano(m.pathAt.Load()); !at.IsZero() && m.heard.IsZero() && now.Sub(at) < 5*time.Second {
			return fastTick
		}
	}
	return tick
}
