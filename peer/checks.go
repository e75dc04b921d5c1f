package peer

import (
	"net/netip"
	"sync"
	"time"

	"github.com/pion/ice/v4"
)

const (
	// validFor is how long a pair counts as valid after a response: four of
	// the agent's keepalives (2 s), and as many of our own.
	validFor = 8 * time.Second

	// An address that has not been heard from is checked as often as the agent
	// likes for a second, then seldom: it may be nobody's that knows of us, but
	// named by a peer to have us send there (RFC 8445 section 19.5.1). NATs on
	// the way keep what the first checks have opened for longer.
	eagerChecks = 5
	sparseWait  = time.Second

	// maxRemotes bounds the addresses one session of a peer may check from.
	maxRemotes = 64
)

// checks is what the connectivity checks of one generation have shown: which
// requests left, which pairs answered, from where the peer checked. All of it
// passes through the mux, so it is known sooner and of more pairs than the
// agent tells. Safe for concurrent use.
type checks struct {
	ufrag   string                       // ours; fixed
	pwd     string                       // ours; fixed
	changed func()                       // a pair became valid or was selected; must not block
	told    func(*Relay, netip.AddrPort) // the peer is at this address; must not block

	// heard is when data of the peer's last came from an address; must not block.
	heard func(*Relay, netip.AddrPort) time.Time

	loss float64 // that pairs are taken to have before they have shown it; fixed

	mu          sync.Mutex // guards all below
	remoteUfrag string
	remotePwd   string
	conns       []*conn
	announced   map[netip.AddrPort]announced
	pairs       map[pairKey]*pair
	sources     map[netip.AddrPort]bool // authenticated addresses, at most maxRemotes
	selected    pairKey                 // the agent's; zero: none yet
	chosen      pairKey                 // ours, see best; zero: none yet
	role        ice.AttrControl         // of the newest request of the agent
	roleKnown   bool
	proof       func()     // called at each authentic check; must not block
	hope        func(Path) // called behind each pair's first check; must not block
	carried     []carried
	doubting    bool // we do not hear the answer to our data: receipts say so
	doubted     bool // the peer's said so, since takeDoubt
}

// carried says that a pair carried a padded check.
type carried struct {
	key  pairKey
	size int // bytes above UDP
}

// maxCarried bounds those that the loop has not seen: one probe is under way
// at a time.
const maxCarried = 16

// announced is what the peer said of one of its addresses.
type announced struct {
	typ      CandidateType
	priority uint32
}

// pairKey names a candidate pair.
type pairKey struct {
	conn   *conn
	remote netip.AddrPort
}

type pair struct {
	sent  time.Time // newest request
	asked time.Time // newest of our own, with a receipt
	tries int       // requests so far
	valid time.Time // newest authentic response; zero: none yet
	quality
	priority uint32 // of the remote candidate, from its checks; 0: not known

	told  time.Time // when the newest receipt came
	heard time.Time // when the peer has heard data on it, by its receipts

	outdated bool // it did not answer when it mattered
}

func newChecks(ufrag string, changed func(), source func(*Relay, netip.AddrPort)) *checks {
	return &checks{
		ufrag: ufrag, changed: changed, told: source, proof: func() {}, hope: func(Path) {},
		heard:     noTunnel{}.Heard,
		announced: make(map[netip.AddrPort]announced),
		pairs:     make(map[pairKey]*pair),
		sources:   make(map[netip.AddrPort]bool),
	}
}

// setRemote takes the peer's credentials; before them no response is valid.
func (s *checks) setRemote(ufrag, pwd string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remoteUfrag, s.remotePwd = ufrag, pwd
}

// setProof has f called at each authentic check of the peer's, before it is
// answered: the peer knows our password.
func (s *checks) setProof(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proof = f
}

// source notes that an authentic check came from addr. It is called before the
// check is answered.
func (s *checks) source(relay *Relay, addr netip.AddrPort) {
	s.mu.Lock()
	proof := s.proof
	s.mu.Unlock()
	proof()
	s.told(relay, addr)
}

func (s *checks) credentials() (ufrag, pwd string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remoteUfrag, s.remotePwd
}

// announce takes a candidate of the peer. The same address may be announced
// twice (a public host's relay, say); the better type names it.
func (s *checks) announce(addr netip.AddrPort, typ CandidateType, priority uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.announced[addr]; !ok || old.priority < priority {
		s.announced[addr] = announced{typ, priority}
	}
	for _, c := range s.conns {
		s.pairUpLocked(c, addr)
	}
}

// pairUpLocked makes a pair of what can be one. The agent pairs up what it is told
// as well, but checks nothing new once it has nominated.
func (s *checks) pairUpLocked(c *conn, remote netip.AddrPort) {
	if c.local.Addr().Is4() == remote.Addr().Is4() {
		s.pairLocked(pairKey{c, remote})
	}
}

func (s *checks) addConn(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
	for remote := range s.announced {
		s.pairUpLocked(c, remote)
	}
}

// find returns the conn for a packet that came over relay (nil: the socket)
// to the address local; a zero local finds the first of from's family.
func (s *checks) find(relay *Relay, local netip.Addr, from netip.Addr) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if c.accepts(relay, local) && c.local.Addr().Is4() == from.Is4() {
			return c
		}
	}
	return nil
}

// conn returns the conn with the agent's candidate ID id.
func (s *checks) conn(id string) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if c.id == id {
			return c
		}
	}
	return nil
}

// admits says whether checks from addr are to be looked at: an agent keeps
// state for each address it hears from.
func (s *checks) admits(addr netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.announced[addr]
	return known || s.sources[addr] || len(s.sources) < maxRemotes
}

// pairLocked returns the pair, made when new.
func (s *checks) pairLocked(k pairKey) *pair {
	p := s.pairs[k]
	if p == nil {
		p = &pair{quality: quality{loss: s.loss}}
		s.pairs[k] = p
	}
	return p
}

// sent notes that a request leaves on k; role is nil when we made it ourselves.
func (s *checks) sent(k pairKey, now time.Time, role *ice.AttrControl) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pairLocked(k)
	if !p.valid.IsZero() { // before, it is holes that are missing, and not packets
		p.left(now)
	}
	if role == nil {
		p.asked = now
	}
	p.sent = now
	p.tries++
	if role != nil {
		s.role, s.roleKnown = *role, true
	}
}

// tooSoon says that a request of the agent's on k is not to leave yet.
func (s *checks) tooSoon(k pairKey, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pairs[k]
	return p != nil && p.valid.IsZero() && !s.sources[k.remote] && p.tries >= eagerChecks && now.Sub(p.sent) < sparseWait
}

// answered notes an authentic response on k: the pair is valid.
func (s *checks) answered(k pairKey, now time.Time, rtt time.Duration) {
	s.mu.Lock()
	p := s.pairLocked(k)
	p.valid, p.outdated = now, false
	p.quality.answered(now, rtt)
	s.mu.Unlock()
	s.changed()
}

// reported takes the receipt of a check or an answer on k.
func (s *checks) reported(k pairKey, r receipt, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pairLocked(k)
	p.told = now
	if r.age >= 0 {
		p.heard = later(p.heard, now.Add(-r.age-p.rtt/2))
	}
	s.doubted = s.doubted || r.doubt
}

// doubts says whether we do not hear the answer to our data.
func (s *checks) doubts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doubting
}

// doubt sets what doubts says.
func (s *checks) doubt(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubting = is
}

// takeDoubt says whether the peer has said that it does not hear the answer to its
// data, since it was called last.
func (s *checks) takeDoubt() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.doubted
	s.doubted = false
	return d
}

// asked notes an authentic request on k. It reports whether a check has to
// answer it (RFC 8445 section 7.3.1.4) that the agent did not send itself
// since the request came, and under which role.
func (s *checks) asked(k pairKey, priority uint32, came, now time.Time) (check bool, role ice.AttrControl) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sources[k.remote] && len(s.sources) < maxRemotes {
		s.sources[k.remote] = true
	}
	p := s.pairLocked(k)
	p.priority = priority
	check = s.roleKnown && !p.fresh(now) && p.sent.Before(came)
	return check, s.role
}

// sizeAnswered notes an authentic response to a padded check.
func (s *checks) sizeAnswered(k pairKey, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.carried) < maxCarried {
		s.carried = append(s.carried, carried{k, size})
	}
}

// takeCarried returns what came since it was called last.
func (s *checks) takeCarried() []carried {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.carried
	s.carried = nil
	return c
}

// knows says whether an authentic check came from addr.
func (s *checks) knows(addr netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sources[addr]
}

// agentRole is the role of the agent's newest request.
func (s *checks) agentRole() (role ice.AttrControl, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.role, s.roleKnown
}

// choose notes the pair that the agent selected.
func (s *checks) choose(k pairKey) {
	s.mu.Lock()
	s.selected = k
	s.mu.Unlock()
	s.changed()
}

func (p *pair) fresh(now time.Time) bool {
	return !p.valid.IsZero() && !p.outdated && now.Sub(p.valid) < validFor && !p.fails(now)
}

// outdate ends the validity of pairs that have not answered since then, though all
// were asked.
func (s *checks) outdate(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pairs {
		p.outdated = p.valid.Before(since)
	}
}

// newest is the time of the last response on any pair; zero: none yet.
func (s *checks) newest() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var t time.Time
	for _, p := range s.pairs {
		if p.valid.After(t) {
			t = p.valid
		}
	}
	return t
}
