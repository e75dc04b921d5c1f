package behavior

import (
	"context"
	"net/netip"
	"slices"
	"sync"
)

// Config says what to ask, and how.
type Config struct {
	// Servers answer Binding requests. The first of each family is asked for all
	// tests, the others only how they see this machine.
	Servers []netip.AddrPort

	// Open opens a UDP socket on any port; nil: the system's.
	Open func(ipv4 bool) (Socket, error)

	// IsAddress says whether an address is this machine's; nil: of its interfaces.
	IsAddress func(netip.Addr) bool
}

func (c *Config) setDefaults() {
	if c.Open == nil {
		c.Open = Open
	}
	if c.IsAddress == nil {
		c.IsAddress = ownAddresses()
	}
}

// samples are the sockets that show how ports are allocated.
const samples = 8

// Discover runs the tests of both families side by side, which takes a second, and
// less than four where answers fail to come. It fails only where no socket can be
// opened at all, or when ctx ends.
func Discover(ctx context.Context, cfg Config) (Report, error) {
	cfg.setDefaults()
	var r Report
	var all sync.WaitGroup
	var errs [2]error
	for i, result := range []*Result{&r.IPv4, &r.IPv6} {
		servers := slices.DeleteFunc(slices.Clone(cfg.Servers), func(a netip.AddrPort) bool { return a.Addr().Is4() != (i == 0) })
		if len(servers) > 0 {
			all.Go(func() { *result, errs[i] = discover(ctx, cfg, i == 0, servers) })
		}
	}
	all.Wait()
	switch {
	case ctx.Err() != nil:
		return r, ctx.Err()
	case !r.IPv4.Answered && !r.IPv6.Answered && errs[0] != nil:
		return r, errs[0]
	}
	return r, nil // a family that there are no sockets of is one without a way to send
}

// discovery is the tests of one family. Each has sockets of its own, so that none
// opens what another finds shut.
type discovery struct {
	ctx     context.Context
	servers []netip.AddrPort

	mu    sync.Mutex // guards facts
	facts facts
}

func discover(ctx context.Context, cfg Config, ipv4 bool, servers []netip.AddrPort) (Result, error) {
	r := newRoom()
	defer r.close()
	count := 2
	if ipv4 {
		count += samples
	}
	for range count {
		s, err := cfg.Open(ipv4)
		if err != nil {
			return Result{}, err
		}
		r.add(s)
	}
	d := &discovery{ctx: ctx, servers: servers, facts: facts{isAddress: cfg.IsAddress}}
	mapping, filtering, fresh := r.clients[0], r.clients[1], r.clients[2:]
	d.facts.port = mapping.socket.Port()
	var tests sync.WaitGroup
	questions := d.sample(fresh) // first of all: other tests make mappings as well
	tests.Go(func() { d.allocation(fresh, questions) })
	tests.Go(func() { d.filtering(filtering) })
	tests.Go(func() { d.mapping(mapping) })
	tests.Wait()
	d.facts.sent, d.facts.answered, d.facts.address, d.facts.rtt = r.sent, r.heard, r.address, r.rtt
	return judge(d.facts), nil
}

// note changes the facts.
func (d *discovery) note(f func(*facts)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.facts)
}

// mapping asks all servers from one socket, and the first one at its other address
// and port as well, if it has one.
func (d *discovery) mapping(c *client) {
	var all sync.WaitGroup
	ask := func(to netip.AddrPort) (arrival, bool) {
		a, ok := c.ask(question{to: to}).answer(d.ctx)
		if ok && a.kind == success {
			d.note(func(f *facts) { f.views = append(f.views, View{Server: to, Mapped: a.mapped}) })
		}
		return a, ok
	}
	for _, s := range d.servers[1:] {
		all.Go(func() { ask(s) })
	}
	first := d.servers[0]
	if a, ok := ask(first); ok && isOther(a.other, first) {
		for _, s := range []netip.AddrPort{
			netip.AddrPortFrom(first.Addr(), a.other.Port()), netip.AddrPortFrom(a.other.Addr(), first.Port()), a.other,
		} {
			if !slices.Contains(d.servers, s) {
				all.Go(func() { ask(s) })
			}
		}
	}
	all.Wait()
}

// isOther says whether an OTHER-ADDRESS is one of another address and port of the
// same family, as it has to be.
func isOther(other, server netip.AddrPort) bool {
	return other.IsValid() && other.Addr().Is4() == server.Addr().Is4() &&
		other.Addr() != server.Addr() && other.Port() != server.Port()
}

// filtering has the first server answer from elsewhere to a socket that has sent
// nothing elsewhere.
func (d *discovery) filtering(c *client) {
	first := d.servers[0]
	var all sync.WaitGroup
	for _, change := range []uint32{0, changePort, changeAddr | changePort} {
		x := c.ask(question{to: first, change: change})
		all.Go(func() {
			a, ok := x.answer(d.ctx)
			if !ok {
				return
			}
			d.note(func(f *facts) { f.filter.answered(change, a, first) })
		})
	}
	all.Wait()
}

func (f *filterFacts) answered(change uint32, a arrival, server netip.AddrPort) {
	refused := a.kind == refusal
	switch change {
	case 0:
		f.reference = !refused
		f.able, f.two = a.origin.IsValid(), isOther(a.other, server)
	case changePort:
		f.port, f.portRefused = !refused, refused
	default:
		f.both, f.bothRefused = !refused, refused
	}
}

// sample asks from fresh sockets, one right after the other.
func (d *discovery) sample(fresh []*client) (questions []*exchange) {
	for _, c := range fresh {
		questions = append(questions, c.ask(question{to: d.servers[0]}))
	}
	return questions
}

// allocation awaits the answers to that, and goes on with two of the sockets, which
// have told the NAT of themselves and are of no further use.
func (d *discovery) allocation(fresh []*client, questions []*exchange) {
	answers := make([]arrival, len(questions))
	var all sync.WaitGroup
	for i, x := range questions {
		all.Go(func() { answers[i], _ = x.answer(d.ctx) })
	}
	all.Wait()
	var known []arrival
	for i, a := range answers {
		if a.mapped.IsValid() {
			known = append(known, a)
			d.note(func(f *facts) { f.samples = append(f.samples, sample{fresh[i].socket.Port(), a.mapped.Port()}) })
		}
	}
	if len(known) >= 2 {
		d.hairpin(known[0], known[1])
	}
}

// hairpin has two sockets send to each other's mapping. Both do, so that the NAT lets
// in what it lets in to who has sent there (RFC 5780 section 4.5, RFC 4787 REQ-9).
func (d *discovery) hairpin(a, b arrival) {
	d.note(func(f *facts) { f.hairpin.tried = true })
	there := func(at *client) func(arrival) bool {
		return func(got arrival) bool { return got.kind == request && got.at == at }
	}
	x, y := a.at.ask(question{to: b.mapped}), b.at.ask(question{to: a.mapped})
	ctx, heard := context.WithCancel(d.ctx)
	defer heard()
	var all sync.WaitGroup
	for _, t := range []struct {
		x  *exchange
		to *client
	}{{x, b.at}, {y, a.at}} {
		all.Go(func() {
			if _, ok := t.x.await(ctx, there(t.to)); ok {
				d.note(func(f *facts) { f.hairpin.heard = true })
				heard() // one is enough
			}
		})
	}
	all.Wait()
}
