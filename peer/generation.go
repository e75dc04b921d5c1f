package peer

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

// What the agents are told instead of pion's defaults.
const (
	checkInterval = 200 * time.Millisecond
	keepalive     = 2 * time.Second // also consent freshness (RFC 7675)

	// A pair is checked this often before it counts as failed: a minute, so
	// that a peer whose checks begin late is still met.
	maxBindingRequests = 300

	// Without a response for this long the agent is disconnected. Data does
	// not pass through it, so only STUN shows it that the peer is there.
	disconnectedAfter = validFor

	// Nomination waits for better pairs; data does not.
	srflxWait = 500 * time.Millisecond
	prflxWait = time.Second
	relayWait = 10 * time.Second
)

// generation is one ICE session with the peer: one offer and its answer, one
// agent. The Peer's loop owns it, except for checks.
type generation struct {
	underlay *Underlay
	agent    *ice.Agent
	checks   *checks
	trickle  trickle

	ufrag, pwd  string
	remoteUfrag string // empty until started
	made        time.Time
	started     time.Time // its checks
	void        bool      // of a run of the peer's that is over
	ours        bool      // the peer has answered our offer

	vicinity, told vicinity // ours, and as the peer was told it
	remoteVicinity vicinity // the peer's, as it told
	remoteEnd      bool     // the peer has no more candidates

	local  map[localKey]bool       // candidates taken so far
	hosts  map[netip.AddrPort]bool // the host candidates among them
	remote map[string]bool         // lines taken so far
}

// localKey tells candidates apart; that of a relay ends with the relay.
type localKey struct {
	typ   CandidateType
	addr  netip.AddrPort
	relay *Relay
}

// newGeneration makes a session with the candidates known now. poke is called
// when something changed that the loop should see, source for each address at
// which the peer proved to be, heard for when its data last came from there; none
// may block.
func newGeneration(u *Underlay, poke func(), source func(*Relay, netip.AddrPort), heard func(*Relay, netip.AddrPort) time.Time) (*generation, error) {
	g := &generation{
		underlay: u,
		made:     time.Now(),
		pwd:      rand.Text(),
		local:    make(map[localKey]bool),
		hosts:    make(map[netip.AddrPort]bool),
		remote:   make(map[string]bool),
	}
	for {
		g.ufrag = rand.Text()[:8]
		g.checks = newChecks(g.ufrag, poke, source)
		g.checks.pwd, g.checks.heard = g.pwd, heard
		if u.mux.register(g.checks) {
			break
		}
	}
	agent, err := ice.NewAgentWithOptions(g.options()...)
	if err != nil {
		u.mux.unregister(g.checks)
		return nil, fmt.Errorf("new ICE agent: %w", err)
	}
	g.agent = agent
	// Both only store the function; they have no other failure.
	_ = agent.OnConnectionStateChange(func(ice.ConnectionState) { poke() })
	_ = agent.OnSelectedCandidatePairChange(func(local, remote ice.Candidate) {
		if c := g.checks.conn(local.ID()); c != nil {
			g.checks.choose(pairKey{c, candidateAddr(remote)})
		}
	})
	g.gather()
	return g, nil
}

func (g *generation) options() []ice.AgentOption {
	u, relay := g.underlay, relayWait
	if u.relayOnly {
		relay = srflxWait // nothing better will come
	}
	return []ice.AgentOption{
		ice.WithLocalCredentials(g.ufrag, g.pwd),
		ice.WithNet(netless{}),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithLoggerFactory(pionLog{u.log}),
		ice.WithCheckInterval(checkInterval),
		ice.WithKeepaliveInterval(keepalive),
		ice.WithMaxBindingRequests(maxBindingRequests),
		ice.WithDisconnectedTimeout(disconnectedAfter),
		ice.WithFailedTimeout(0), // a failed agent forgets its candidates; the loop decides
		ice.WithHostAcceptanceMinWait(0),
		ice.WithSrflxAcceptanceMinWait(srflxWait),
		ice.WithPrflxAcceptanceMinWait(prflxWait),
		ice.WithRelayAcceptanceMinWait(relay),
		ice.WithBindingRequestHandler(g.asked),
	}
}

// gather takes the underlay's candidates that are new: into the agent, and
// into the list for the peer. A srflx candidate is for the peer only: its base
// is the host candidate's socket, so the agent would check each pair twice.
func (g *generation) gather() {
	candidates, all := g.underlay.Gathered()
	for _, c := range candidates {
		key := localKey{c.Type, c.Addr, c.Relay}
		if g.local[key] {
			continue
		}
		g.local[key] = true
		if err := g.add(c); err != nil {
			g.underlay.log.Debug("candidate not taken", "local", c.Addr, "err", err)
			continue
		}
		g.underlay.log.Debug("candidate", "type", c.Type, "local", c.Addr)
	}
	g.trickle.ended(all)
	g.vicinity = g.underlay.vicinity()
}

func (g *generation) add(c Candidate) error {
	candidate, err := c.build(uint16(65535 - len(g.local)))
	if err != nil {
		return err
	}
	if c.Told() && !g.trickle.add(candidate.Marshal()) {
		return fmt.Errorf("add %s candidate %s: the peer has the whole list", c.Type, c.Addr)
	}
	if c.Type == Host {
		g.hosts[c.Addr] = true
	}
	if c.Type != ServerReflexive {
		conn := newConn(g.underlay.mux, g.checks, candidate, c.Addr, c.Relay)
		g.checks.addConn(conn)
		if err := g.agent.AddVirtualCandidate(candidate, conn); err != nil {
			return fmt.Errorf("add %s candidate %s: %w", c.Type, c.Addr, err)
		}
	}
	return nil
}

// describe is this side of the session, for the offer or answer.
func (g *generation) describe() description {
	g.told = g.vicinity
	return description{Ufrag: g.ufrag, Pwd: g.pwd, Candidates: g.trickle.lines, End: g.trickle.end, Mapping: g.vicinity.mapping, Blocked: g.vicinity.blocked}
}

// start begins the checks against the peer's description.
func (g *generation) start(d description, controlling bool, now time.Time) error {
	g.remoteUfrag, g.started = d.Ufrag, now
	g.remoteVicinity, g.remoteEnd = vicinity{d.Mapping, d.Blocked}, d.End
	g.checks.setRemote(d.Ufrag, d.Pwd)
	g.take(d.Candidates)
	begin := g.agent.StartAccept
	if controlling {
		begin = g.agent.StartDial
	}
	if _, err := begin(d.Ufrag, d.Pwd); err != nil {
		return fmt.Errorf("start ICE agent: %w", err)
	}
	return nil
}

// take takes the peer's candidates that are new and usable.
func (g *generation) take(lines []string) {
	for _, line := range lines {
		if g.remote[line] || len(g.remote) >= maxCandidates {
			continue
		}
		g.remote[line] = true
		c, addr, err := parseCandidate(line, g.underlay.mayBe)
		if err != nil {
			g.underlay.drops.filtered.Add(1)
			continue
		}
		g.checks.announce(addr, CandidateType(c.Type().String()), c.Priority())
		if err := g.agent.AddRemoteCandidate(c); err != nil {
			g.underlay.log.Debug("remote candidate not taken", "remote", addr, "err", err)
		}
	}
}

// asked is called by the agent, in its loop, for each check of the peer's that
// is authentic, after it was answered. The agent answers checks with checks only in some states and
// in one role (RFC 8445 section 7.3.1.4 knows no such exception); the rest is
// done here.
func (g *generation) asked(m *stun.Message, local, remote ice.Candidate, _ *ice.CandidatePair) bool {
	c := g.checks.conn(local.ID())
	if c == nil {
		return false
	}
	addr := candidateAddr(remote)
	var priority ice.PriorityAttr
	_ = priority.GetFrom(m) // without it: 0, the worst
	check, role := g.checks.asked(pairKey{c, addr}, uint32(priority), c.received(), time.Now())
	if check {
		c.ask(addr, role)
	}
	return false // the agent shall not select anything for it
}

// keep checks what is to be, and returns when to do it again; zero: not, as things
// stand.
func (g *generation) keep(now time.Time, e eagerness) time.Time {
	due, role, next := g.checks.schedule(now, e)
	for _, k := range due {
		k.conn.ask(k.remote, role)
	}
	return next
}

// state is the agent's state in the words of RFC 8445, but for what the pairs
// say better.
func (g *generation) state(now time.Time) string {
	if g.started.IsZero() {
		return "new"
	}
	valid := g.checks.validNow(now) // not best, which chooses
	switch {
	case len(valid) > 0 && valid[0].nominated:
		return "completed"
	case len(valid) > 0:
		return "connected"
	case !g.checks.newest().IsZero():
		return "disconnected"
	}
	return "checking"
}

// close ends the agent and its goroutines. The mux forgets the session.
func (g *generation) close() {
	g.underlay.mux.unregister(g.checks)
	if err := g.agent.GracefulClose(); err != nil {
		g.underlay.log.Debug("closing an ICE agent", "err", err)
	}
}

func candidateAddr(c ice.Candidate) netip.AddrPort {
	a, _ := netip.ParseAddr(c.Address()) // the zero address for a name, which none here has
	return canonical(netip.AddrPortFrom(a, uint16(c.Port())))
}

// lostRelay says whether a relay that the session was offered is lost.
func (g *generation) lostRelay() bool {
	for key := range g.local {
		if key.relay != nil && key.relay.lost() {
			return true
		}
	}
	return false
}

// stale says whether a host candidate of the session is no address of this
// node any more.
func (g *generation) stale() bool {
	g.underlay.mu.RLock()
	defer g.underlay.mu.RUnlock()
	for addr := range g.hosts {
		if !slices.Contains(g.underlay.hosts, addr.Addr()) {
			return true
		}
	}
	return false
}
