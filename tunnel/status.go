package tunnel

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/peer/behavior"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tun"
)

// Status is how the node stands, in the form of `status --json`: fields are
// added, never renamed.
type Status struct {
	Self    SelfStatus    `json:"self"`
	Network NetworkStatus `json:"network"`
	Hub     HubStatus     `json:"hub"`
	Peers   []PeerStatus  `json:"peers"` // by name

	// Refused counts, by kind, what came and was not what it said, since the
	// start. Of sealed messages some are stale without malice.
	Refused map[string]uint64 `json:"refused,omitempty"`
}

// SelfStatus is about this machine.
type SelfStatus struct {
	Name      string       `json:"name"`
	ID        string       `json:"id"`
	Addresses []netip.Addr `json:"addresses"` // inside the tunnel
	NAT       NATStatus    `json:"nat"`
	State     string       `json:"state"` // joining, up, or expired: its membership has ended
	Expires   *time.Time   `json:"expires"`
	Interface string       `json:"interface"`
	Port      uint16       `json:"port"` // UDP
	GSO       GSOStatus    `json:"gso"`

	Relays []RelayStatus `json:"relays"` // all that are known, by address; the best are held

	UDPBlocked bool `json:"udp_blocked,omitempty"` // the hub is reached, and nothing comes back over UDP
}

// GSOStatus says whether packets pass the kernel many at a time, or why not.
type GSOStatus struct {
	On  bool   `json:"on"`
	Why string `json:"why"` // "" while it is on
}

// NATStatus is how the NAT before this machine behaves (RFC 4787); "" is not
// known.
type NATStatus struct {
	Mapping   peer.Mapping        `json:"mapping"`
	Filtering behavior.Dependence `json:"filtering"` // of this machine's alone
}

// NetworkStatus names the network.
type NetworkStatus struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// HubStatus is the connection to the hub.
type HubStatus struct {
	URL       string `json:"url"`
	Connected bool   `json:"connected"`
	Error     string `json:"error,omitempty"` // why it is not
}

// PeerStatus is about another member.
type PeerStatus struct {
	Name          string         `json:"name"`
	ID            string         `json:"id"`
	Addresses     []netip.Addr   `json:"addresses"`
	Online        bool           `json:"online"` // as the hub says
	State         peer.State     `json:"state"`
	ICE           string         `json:"ice"`
	Path          peer.PathKind  `json:"path"` // what carries data now
	Why           string         `json:"why"`  // what holds it back from a direct path; "" nothing
	MTU           int            `json:"mtu"`  // of inner packets, bytes: what the path is proved to carry
	Local         EndpointStatus `json:"local"`
	Remote        EndpointStatus `json:"remote"`
	RTT           *float64       `json:"rtt_ms"`
	RxBytes       uint64         `json:"rx_bytes"`
	TxBytes       uint64         `json:"tx_bytes"`
	LastHandshake *time.Time     `json:"last_handshake"`

	// That the last handshake was made with a preshared key of a sealed
	// session, which is post-quantum, and since when they are with this key.
	PresharedKey   bool       `json:"preshared_key"`
	PresharedSince *time.Time `json:"preshared_since"`

	NAT NATStatus `json:"nat"` // before the peer, as it says

	Pairs  []PairStatus  `json:"pairs,omitzero"`  // of StatusOf: best first
	Events []EventStatus `json:"events,omitzero"` // of StatusOf: the newest last
}

// EndpointStatus is one end of a path; both fields are "" where there is none.
type EndpointStatus struct {
	Type    peer.CandidateType `json:"type"`
	Address string             `json:"address"` // ip:port
}

// fresh is how old the newest authenticated packet of a tunnel may be that counts
// as connected: WireGuard's keepalives come from the other side, and one may be
// lost.
const fresh = 2*keepalive + 5*time.Second

// alone is fresh where nothing else speaks for the peer: no keepalive may be lost.
const alone = keepalive + 2*tick

// lively is how long a tunnel is not given up for silence: two may.
const lively = 3*keepalive + 5*time.Second

// Status reports how the node stands. It is safe for concurrent use while the
// node runs, and fails when it does not.
func (n *Node) Status(ctx context.Context) (*Status, error) {
	var s *Status
	err := n.do(ctx, func() error {
		s = n.status(time.Now())
		return nil
	})
	return s, err
}

func (n *Node) status(now time.Time) *Status {
	s := &Status{
		Self: SelfStatus{
			Name: n.node.Name, ID: n.self.Node.Public().ID().String(), State: "joining",
			Addresses: []netip.Addr{}, Interface: n.cfg.Interface, Relays: []RelayStatus{},
		},
		Network: NetworkStatus{Name: n.node.NetworkName, ID: n.self.Network.String()},
		Hub:     HubStatus{URL: n.node.Hub.URLs[0], Connected: n.link.up, Error: n.link.said},
		Peers:   []PeerStatus{},
	}
	if n.tunnel == nil {
		return s
	}
	s.Self.State, s.Self.Port = "up", n.tunnel.bind.Port()
	s.Self.NAT = NATStatus{Mapping: n.tunnel.underlay.Mapping(), Filtering: n.filtering()}
	s.Self.GSO.On, s.Self.GSO.Why = n.tunnel.bind.Joining()
	relays := n.tunnel.underlay.Relays()
	s.Self.Relays, s.Self.UDPBlocked = relayStatus(relays), n.udpBlocked(relays)
	if own, ok := n.roster.Get(n.self.Node.Public()); ok {
		s.Self.Addresses, s.Self.Expires = own.Addresses(n.self.Network), expires(own)
	}
	if n.hasLapsed(n.now()) {
		s.Self.State = "expired"
	}
	s.Refused = n.refusedSoFar()
	n.count(now)
	for _, m := range n.members {
		s.Peers = append(s.Peers, n.peerStatus(now, m, s.Self.UDPBlocked))
	}
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int { return strings.Compare(a.Name, b.Name) })
	return s
}

func (n *Node) peerStatus(now time.Time, m *member, blocked bool) PeerStatus {
	p := PeerStatus{
		Name: m.record.Name, ID: m.record.Node.ID().String(), Addresses: m.record.Addresses(n.self.Network),
		Online: m.online, State: peer.Idle, Path: peer.PathNone, MTU: tun.BaseMTU,
	}
	sum := m.traffic
	at := standing{
		now: now, name: p.Name, hub: n.link.up, way: !n.link.up && n.reachable(m), online: m.online, offline: m.gone,
		relayOnly: n.cfg.RelayOnly, mapping: n.tunnel.underlay.Mapping(), blocked: blocked,
	}
	if m.active != nil {
		sum = sum.plus(m.active.counted)
		at.ice, at.heard = p.fill(now, m.active, n.link.up), m.active.heard
	}
	p.RxBytes, p.TxBytes = sum.rx, sum.tx
	if !sum.handshake.IsZero() {
		t := sum.handshake.UTC()
		p.LastHandshake = &t
	}
	at.state, at.path = p.State, p.Path
	p.Why = at.why()
	return p
}

// fill fills in how things stand with an active member.
func (p *PeerStatus) fill(now time.Time, m *active, hub bool) peer.Snapshot {
	p.MTU = m.mtu.get()
	ice := m.session.Snapshot()
	p.State, p.ICE = m.state(now, ice, hub), ice.ICE
	if p.State == peer.Connected {
		p.Path = ice.Path
		p.Local, p.Remote = endpointStatus(ice.Local), endpointStatus(ice.Remote)
		p.RTT = Milliseconds(ice.RTT)
	}
	if since, ok := m.keys.since(); ok {
		since = since.UTC()
		p.PresharedKey, p.PresharedSince = true, &since
	}
	p.NAT.Mapping = ice.RemoteMapping
	return ice
}

// state corrects what ICE believes by what WireGuard knows: connected is who was
// heard lately, and does not leave data waiting, whatever became of the ICE session
// that found the path. Who is silent to ICE and has left the hub, though, has gone.
func (m *active) state(now time.Time, ice peer.Snapshot, hub bool) peer.State {
	within := fresh
	if ice.ICE == "disconnected" {
		within = alone // checks are not answered either
	}
	heard := !m.heard.IsZero() && now.Sub(m.heard) < within
	switch {
	case ice.Suspect && heard:
		return peer.Checking
	case ice.Suspect:
		return peer.Disconnected
	case heard && ice.Path != peer.PathNone && (ice.State == peer.Connected || m.online || !hub):
		return peer.Connected
	case ice.State == peer.Connected && m.heard.IsZero():
		return peer.Checking
	case ice.State == peer.Connected:
		return peer.Disconnected
	}
	return ice.State
}

func endpointStatus(e peer.Endpoint) EndpointStatus {
	if !e.Addr.IsValid() {
		return EndpointStatus{}
	}
	return EndpointStatus{Type: e.Type, Address: e.Addr.String()}
}

// NodeInfo is a member as `nodes` lists it.
type NodeInfo struct {
	Name      string       `json:"name"`
	ID        string       `json:"id"`
	Addresses []netip.Addr `json:"addresses"`
	Tags      []string     `json:"tags"`
	Self      bool         `json:"self"`
	Online    bool         `json:"online"`
	Admin     bool         `json:"admin"`   // may admit and revoke
	Expires   *time.Time   `json:"expires"` // the membership; null: never
}

// Nodes lists the network's members by name, this one included, and those whose
// membership has ended. It is safe for concurrent use while the node runs.
func (n *Node) Nodes(ctx context.Context) ([]NodeInfo, error) {
	nodes := []NodeInfo{}
	err := n.do(ctx, func() error {
		for _, rec := range n.roster.Live(time.Time{}) {
			nodes = append(nodes, n.nodeInfo(rec))
		}
		return nil
	})
	return nodes, err
}

func (n *Node) nodeInfo(rec *signaling.SignedRecord) NodeInfo {
	info := NodeInfo{
		Name: rec.Name, ID: rec.Node.ID().String(), Addresses: rec.Addresses(n.self.Network),
		Tags: append([]string{}, rec.Tags...), Self: rec.Node == n.self.Node.Public(),
		Admin: n.roster.IsAdmin(rec.Node), Expires: expires(rec),
	}
	info.Online = info.Self && n.link.up
	if m := n.members[rec.Node]; m != nil {
		info.Online = m.online
	}
	return info
}

// expires is when a membership ends, nil for never.
func expires(rec *signaling.SignedRecord) *time.Time {
	if rec.Expires.IsZero() {
		return nil
	}
	end := rec.Expires.UTC()
	return &end
}
