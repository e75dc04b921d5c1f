package natlab

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// A range is what RFC 4787 and RFC 5780 measure a NAT with: two public hosts
// with two ports each.
//
//	A:p1 A:p2 ─┐
//	           ├─ core ─ NAT ─┬─ a
//	B:p1 B:p2 ─┘              └─ b
type shootingRange struct {
	nat            *NAT
	a, b           *Host
	a1, a2, b1, b2 *party
}

func newRange(t *testing.T, behavior Behavior) *shootingRange {
	lab := newLab(t)
	hostA, hostB := Must(lab.PublicHost("A")), Must(lab.PublicHost("B"))
	nat := Must(lab.NAT("nat", behavior))
	return &shootingRange{
		nat: nat, a: Must(nat.Host("a")), b: Must(nat.Host("b")),
		a1: newParty(t, hostA, 3478), a2: newParty(t, hostA, 3479),
		b1: newParty(t, hostB, 3478), b2: newParty(t, hostB, 3479),
	}
}

// kinds returns all combinations of mapping and filtering, and each way to
// choose ports with the mappings that usually go with it.
func kinds() []Behavior {
	all := []Behavior{{Ports: Sequential}, {Ports: Random}, Symmetric, SymmetricSequential}
	for m := EndpointIndependent; m <= AddressAndPortDependent; m++ {
		for f := EndpointIndependent; f <= AddressAndPortDependent; f++ {
			all = append(all, Behavior{Mapping: m, Filtering: f})
		}
	}
	return all
}

// RFC 5780 section 4.3: which destinations share a mapping.
func TestMapping(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(fmt.Sprintf("%s/%s/%d", kind.Mapping, kind.Filtering, kind.Ports), func(t *testing.T) {
			r := newRange(t, kind)
			p := newParty(t, r.a, 0)
			first, otherPort, otherAddr := p.externalOf(r.a1), p.externalOf(r.a2), p.externalOf(r.b1)
			if got, want := otherPort == first, kind.Mapping != AddressAndPortDependent; got != want {
				t.Errorf("A:p1 sees %s, A:p2 sees %s; same is %v, want %v", first, otherPort, got, want)
			}
			if got, want := otherAddr == first, kind.Mapping == EndpointIndependent; got != want {
				t.Errorf("A:p1 sees %s, B:p1 sees %s; same is %v, want %v", first, otherAddr, got, want)
			}
			if again := p.externalOf(r.a1); again != first {
				t.Errorf("A:p1 sees %s, and then %s", first, again)
			}
			if first.Addr() != r.nat.Addr() {
				t.Errorf("external address %s, want %s", first.Addr(), r.nat.Addr())
			}
			if preserved := first.Port() == p.addr.Port(); preserved != (kind.Ports == Preserving) {
				t.Errorf("internal port %d became %d", p.addr.Port(), first.Port())
			}
		})
	}
}

// RFC 5780 section 4.4: who can answer to a mapping. It is the mapping for
// A:p1, and nobody else has been contacted.
func TestFiltering(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(fmt.Sprintf("%s/%s/%d", kind.Mapping, kind.Filtering, kind.Ports), func(t *testing.T) {
			r := newRange(t, kind)
			p := newParty(t, r.a, 0)
			external := p.externalOf(r.a1)
			want := map[string]bool{
				"A:p1": true,
				"A:p2": kind.Filtering != AddressAndPortDependent,
				"B:p1": kind.Filtering == EndpointIndependent,
			}
			r.b1.send(external, "B:p1")
			r.a2.send(external, "A:p2")
			r.a1.send(external, "A:p1")
			p.wantTexts(want)
		})
	}
}

// wantTexts receives until all wanted packets are there, and checks that no
// others are.
func (p *party) wantTexts(want map[string]bool) {
	p.t.Helper()
	missing := 0
	for _, w := range want {
		if w {
			missing++
		}
	}
	for range missing {
		if text, from := p.receive(); !want[text] {
			p.t.Errorf("the packet %s from %s came through the filter", text, from)
		}
	}
}

// What one internal socket has contacted opens nothing for another, of the
// same host or of its neighbour.
func TestFilterIsPerMapping(t *testing.T) {
	for name, kind := range map[string]Behavior{"address": AddressRestricted, "port": PortRestricted, "symmetric": Symmetric} {
		t.Run(name, func(t *testing.T) {
			r := newRange(t, kind)
			p := newParty(t, r.a, 0)
			external := p.externalOf(r.a1)
			newParty(t, r.a, 0).externalOf(r.b1)
			newParty(t, r.b, 0).externalOf(r.b1)
			r.b1.send(external, "through another's mapping")
			p.silent(r.a1, external)
		})
	}
}

// A peer's first punch that comes too early must leave no trace: the NAT has to
// give the flow the same port as without it.
func TestUnsolicitedPacket(t *testing.T) {
	for name, kind := range map[string]Behavior{"address": AddressRestricted, "port": PortRestricted} {
		t.Run(name, func(t *testing.T) {
			r := newRange(t, kind)
			p := newParty(t, r.a, 4444)
			external := netip.AddrPortFrom(r.nat.Addr(), 4444)
			r.b1.send(external, "too early")
			if got := p.externalOf(r.a1); got != external {
				t.Fatalf("A sees %s, want %s", got, external)
			}
			r.b1.send(external, "still too early")
			if got := p.externalOf(r.b1); got != external {
				t.Errorf("B sees %s after its early packets, want %s", got, external)
			}
			p.silent(r.b1, external)
		})
	}
}

// Both sides punch: the case that all this is for.
func TestPunch(t *testing.T) {
	lab := newLab(t)
	hub := newParty(t, Must(lab.PublicHost("hub")), 0)
	p := newParty(t, Must(Must(lab.NAT("home1", PortRestricted)).Host("a")), 0)
	q := newParty(t, Must(Must(lab.NAT("home2", PortRestricted)).Host("b")), 0)
	addrP, addrQ := p.externalOf(hub), q.externalOf(hub)
	p.send(addrQ, "lost")
	q.wantEcho(addrP, p)
	p.wantEcho(addrQ, q)
}

func TestSequentialPorts(t *testing.T) {
	r := newRange(t, SymmetricSequential)
	p := newParty(t, r.a, 0)
	var got []uint16
	for _, to := range []*party{r.a1, r.a2, r.b1, r.b2} {
		got = append(got, p.externalOf(to).Port())
	}
	want := []uint16{firstSequential, firstSequential + 1, firstSequential + 2, firstSequential + 3}
	if !slices.Equal(got, want) {
		t.Errorf("ports %d, want %d", got, want)
	}
}

func TestRandomPorts(t *testing.T) {
	r := newRange(t, Symmetric)
	var ports []uint16
	for range 8 {
		p := newParty(t, r.a, 0)
		for _, to := range []*party{r.a1, r.a2, r.b1, r.b2} {
			ports = append(ports, p.externalOf(to).Port())
		}
	}
	if slices.Min(ports) < firstRandom {
		t.Errorf("ports %d below %d", ports, firstRandom)
	}
	if slices.IsSorted(ports) {
		t.Errorf("ports %d are not random", ports)
	}
	// Their chance to span less than this is one in a million.
	if span := slices.Max(ports) - slices.Min(ports); span < 30000 {
		t.Errorf("32 random ports span only %d: %d", span, ports)
	}
}

// Hosts that use the same port never share an external one (RFC 4787 REQ-3),
// even if they ask at once.
func TestPortCollision(t *testing.T) {
	const ports = 64
	r := newRange(t, PortRestricted)
	var wg sync.WaitGroup
	for _, h := range []*Host{r.a, r.b} {
		var parties []*party
		for i := range ports {
			parties = append(parties, newParty(t, h, uint16(20000+i)))
		}
		wg.Go(func() {
			for _, p := range parties {
				if _, err := p.conn.WriteToUDPAddrPort([]byte("hello"), r.a1.addr); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[netip.AddrPort]bool)
	preserved := 0
	for range 2 * ports {
		_, from := r.a1.receive()
		if seen[from] {
			t.Errorf("%s was given to two hosts", from)
		}
		seen[from] = true
		if from.Port() >= 20000 && from.Port() < 20000+ports {
			preserved++
		}
	}
	if preserved < ports {
		t.Errorf("%d of %d ports were preserved for one of the hosts, want all", preserved, ports)
	}
	mappings, err := r.nat.Mappings()
	if err != nil || len(mappings) != 2*ports {
		t.Errorf("%d mappings, %v; want %d", len(mappings), err, 2*ports)
	}
}

func TestHairpin(t *testing.T) {
	for _, kind := range []Behavior{Full, AddressRestricted, PortRestricted, Symmetric} {
		for _, hairpin := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%s/%v", kind.Mapping, kind.Filtering, hairpin), func(t *testing.T) {
				kind.Hairpin = hairpin
				r := newRange(t, kind)
				p, q := newParty(t, r.a, 0), newParty(t, r.b, 0)
				addrP, addrQ := p.externalOf(r.a1), q.externalOf(r.a1)
				p.send(addrQ, "p to q") // opens p's filter for q
				q.send(addrP, "q to p")
				if !hairpin || kind.Mapping != EndpointIndependent {
					p.silent(r.a1, addrP)
					return
				}
				if text, from := p.receive(); text != "q to p" || from != addrQ {
					t.Errorf("p received %q from %s, want q to p from %s", text, from, addrQ)
				}
				p.wantQuietOr("p to q", q, addrQ, kind.Filtering == EndpointIndependent)
			})
		}
	}
}

// wantQuietOr checks whether the first hairpinned packet came through q's
// filter, which only an endpoint-independent one lets it.
func (p *party) wantQuietOr(text string, q *party, addrQ netip.AddrPort, through bool) {
	p.t.Helper()
	if through {
		if got, _ := q.receive(); got != text {
			p.t.Errorf("received %q, want %q", got, text)
		}
	}
	p.send(addrQ, "last")
	if got, _ := q.receive(); got != "last" {
		p.t.Errorf("received %q, want last", got)
	}
}

func TestTimeout(t *testing.T) {
	kind := Behavior{Ports: Sequential, Timeout: 300 * time.Millisecond}
	r := newRange(t, kind)
	p := newParty(t, r.a, 0)
	first := p.externalOf(r.a1)
	eventually(t, func() error {
		if m, err := r.nat.Mappings(); err != nil || len(m) != 0 {
			return fmt.Errorf("mappings %v, %v; want none", m, err)
		}
		return nil
	})
	r.a1.send(first, "too late")
	if second := p.externalOf(r.a1); second == first {
		t.Errorf("the mapping %s came back after its timeout", first)
	} else {
		p.silent(r.a1, second)
	}
}

// A mapping in use outlives its timeout, and so does its claim on the port.
func TestRefresh(t *testing.T) {
	const timeout = 300 * time.Millisecond
	r := newRange(t, Behavior{Timeout: timeout})
	p, q := newParty(t, r.a, 4444), newParty(t, r.b, 4444)
	first := p.externalOf(r.a1)
	tick := time.NewTicker(timeout / 10)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < 2*timeout; <-tick.C {
		if got := p.externalOf(r.a1); got != first {
			t.Fatalf("the mapping changed in use from %s to %s", first, got)
		}
	}
	if got := q.externalOf(r.a1); got == first {
		t.Errorf("%s was given to a second host", got)
	}
	r.b1.send(first, "still open")
	p.wantTexts(map[string]bool{"still open": true})
}

func TestFlush(t *testing.T) {
	r := newRange(t, Symmetric)
	p := newParty(t, r.a, 0)
	first := p.externalOf(r.a1)
	mappings, err := r.nat.Mappings()
	want := Mapping{Internal: p.addr, External: first, Remote: r.a1.addr}
	if err != nil || len(mappings) != 1 || mappings[0] != want {
		t.Fatalf("mappings %v, %v; want %v", mappings, err, want)
	}
	if err := r.nat.Flush(); err != nil {
		t.Fatal(err)
	}
	if mappings, err = r.nat.Mappings(); err != nil || len(mappings) != 0 {
		t.Errorf("mappings %v, %v; want none", mappings, err)
	}
	r.a1.send(first, "forgotten")
	second := p.externalOf(r.b1)
	p.silent(r.b1, second)
}

func TestRenumber(t *testing.T) {
	r := newRange(t, PortRestricted)
	p := newParty(t, r.a, 0)
	before := r.nat.Addr()
	p.wantEcho(r.a1.addr, r.a1)
	if err := r.nat.Renumber(); err != nil {
		t.Fatal(err)
	}
	after := r.nat.Addr()
	if after == before {
		t.Fatalf("the address stayed %s", after)
	}
	if got := p.externalOf(r.a1).Addr(); got != after {
		t.Errorf("seen as %s, want %s", got, after)
	}
	p.wantEcho(r.a1.addr, r.a1)
}
