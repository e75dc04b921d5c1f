package peer

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// mapSends is how often a server is asked in one test of the mapping; the
	// waits double, from mapRTO on.
	mapSends = 3
	mapRTO   = 500 * time.Millisecond

	// Servers that have not answered are asked again after this, doubling: a
	// firewall may stand before their other port for good.
	mapAgain    = 20 * time.Second
	mapMaxAgain = 10 * time.Minute

	// maxMapServers bounds those that are asked beside the servers in use.
	maxMapServers = 8
)

// mapper finds the NAT's mapping of the shared socket's port: it asks several
// STUN servers at the same moment. Safe for concurrent use.
type mapper struct {
	again chan struct{} // test now
	news  chan struct{} // an answer came

	mu      sync.Mutex       // guards all below
	alone   []netip.AddrPort // servers for this test alone
	network int              // counts what makes a verdict void
	verdict Mapping
	asked   map[transactionID]netip.AddrPort // of the test that runs; nil: none does
	views   []view                           // of that
}

func newMapper() *mapper {
	return &mapper{again: make(chan struct{}, 1), news: make(chan struct{}, 1)}
}

// SetSTUN takes addresses that answer Binding requests and no more: they are
// asked how the NAT maps this node's port, beside the servers in use. Those
// beyond the eighth are left out.
func (u *Underlay) SetSTUN(addrs []netip.AddrPort) {
	alone, m := u.Servers(addrs), u.mapper
	m.mu.Lock()
	changed := !slices.Equal(m.alone, alone)
	m.alone = alone
	m.mu.Unlock()
	if changed {
		signal(m.again)
	}
}

// Mapping is how the NAT before this node maps its port, as far as it is known.
func (u *Underlay) Mapping() Mapping {
	u.mapper.mu.Lock()
	defer u.mapper.mu.Unlock()
	return u.mapper.verdict
}

// renew makes the verdict void and has another found: the network may be another.
func (m *mapper) renew() {
	m.mu.Lock()
	m.network++
	m.verdict = MappingUnknown
	m.mu.Unlock()
	signal(m.again)
}

// keepMapping keeps the verdict until ctx ends.
func (u *Underlay) keepMapping(ctx context.Context) {
	m, wait := u.mapper, mapAgain
	for {
		var timer <-chan time.Time
		if whole := u.testMapping(ctx); !whole {
			timer = time.After(wait)
			wait = min(2*wait, mapMaxAgain)
		}
		select {
		case <-ctx.Done():
			return
		case <-m.again:
			wait = mapAgain
		case <-timer:
		}
	}
}

// testMapping asks all servers at once, and reports whether all have answered.
func (u *Underlay) testMapping(ctx context.Context) (whole bool) {
	servers, network := u.mapServers()
	var views []view
	if len(servers) > 0 {
		views = u.mapper.ask(ctx, u.socket, servers)
	}
	if ctx.Err() != nil {
		return false
	}
	if u.mapper.conclude(judge(append(u.seen(), views...), u.isOwn), network) {
		u.notify()
	}
	return len(views) == len(servers)
}

// conclude takes a verdict on a network that is still the same, and reports
// whether it is news. Silence is none.
func (m *mapper) conclude(verdict Mapping, network int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.network != network || verdict == MappingUnknown || verdict == m.verdict {
		return false
	}
	m.verdict = verdict
	return true
}

// mapServers returns the servers to ask: those of a family in which there are two
// to compare.
func (u *Underlay) mapServers() (servers []netip.AddrPort, network int) {
	m := u.mapper
	m.mu.Lock()
	all := slices.Clone(m.alone)
	network = m.network
	m.mu.Unlock()
	for addr := range *u.servers.Load() {
		if !slices.Contains(all, addr) {
			all = append(all, addr)
		}
	}
	for _, a := range all {
		if slices.ContainsFunc(all, func(b netip.AddrPort) bool { return b != a && b.Addr().Is4() == a.Addr().Is4() }) {
			servers = append(servers, a)
		}
	}
	return servers, network
}

// seen is what the probes have shown already of families in which there is one
// server alone: enough to know that there is no NAT.
func (u *Underlay) seen() (views []view) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	for s, f := range u.found {
		if own := f.reflexive.mapped; own.IsValid() && u.isOwnLocked(own) {
			views = append(views, view{Server: s.addr, Mapped: own, Local: f.reflexive.base})
		}
	}
	return views
}

// isOwn says whether a is the shared socket at an address of this node.
func (u *Underlay) isOwn(a netip.AddrPort) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.isOwnLocked(a)
}

func (u *Underlay) isOwnLocked(a netip.AddrPort) bool {
	return a.Port() == u.port && slices.Contains(u.hosts, a.Addr())
}

// ask sends Binding requests to the servers until all have answered, or had the
// time.
func (m *mapper) ask(ctx context.Context, socket Socket, servers []netip.AddrPort) []view {
	m.mu.Lock()
	m.asked, m.views = make(map[transactionID]netip.AddrPort), nil
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.asked, m.views = nil, nil
		m.mu.Unlock()
	}()
	for try := range mapSends {
		for _, s := range m.unanswered(servers) {
			request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
			m.mu.Lock()
			m.asked[request.TransactionID] = s
			m.mu.Unlock()
			_ = socket.SendTo(request.Raw, zeroAddr, s) // no answer either
		}
		if m.wait(ctx, servers, mapRTO<<try) {
			break
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.views
}

// wait returns true when all have answered.
func (m *mapper) wait(ctx context.Context, servers []netip.AddrPort, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for len(m.unanswered(servers)) > 0 {
		select {
		case <-ctx.Done():
			return true
		case <-timer.C:
			return false
		case <-m.news:
		}
	}
	return true
}

func (m *mapper) unanswered(servers []netip.AddrPort) []netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(servers), func(s netip.AddrPort) bool {
		return slices.ContainsFunc(m.views, func(v view) bool { return v.Server == s })
	})
}

// handle takes a Binding response, and reports whether it was to a request of the
// test's. It does not keep b.
func (m *mapper) handle(local netip.Addr, from netip.AddrPort, b []byte) bool {
	if !isSTUN(b) || stunType(b) != bindingSuccess && stunType(b) != bindingError {
		return false
	}
	m.mu.Lock()
	server, ok := m.asked[stunTransaction(b)]
	delete(m.asked, stunTransaction(b))
	m.mu.Unlock()
	if !ok || server != from {
		return ok
	}
	response := stun.Message{Raw: append([]byte(nil), b...)}
	if response.Decode() != nil {
		return true
	}
	if mapped, err := addressOf(&response, stun.AttrXORMappedAddress); err == nil {
		m.mu.Lock()
		if m.asked != nil && !slices.ContainsFunc(m.views, func(v view) bool { return v.Server == server }) {
			m.views = append(m.views, view{Server: server, Mapped: mapped, Local: local})
		}
		m.mu.Unlock()
		signal(m.news)
	}
	return true
}
