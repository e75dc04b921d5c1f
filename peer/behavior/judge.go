package behavior

import (
	"net/netip"
	"slices"
	"time"
)

// facts are what the tests of one family have shown.
type facts struct {
	sent, answered bool
	address        netip.Addr // as a server saw it
	rtt            time.Duration

	views     []View // of the mapping's socket, which has this port
	port      uint16
	filter    filterFacts
	samples   []sample
	hairpin   hairpinFacts
	isAddress func(netip.Addr) bool // whether an address is this machine's
}

// filterFacts are what came back from a socket that has sent to the server's first
// address and port alone.
type filterFacts struct {
	reference bool // the answer from there, without which silence says nothing

	// able says that the server can answer from another port: it says where it
	// answers from, as servers of RFC 5780 do. two says that it can from another
	// address.
	able, two bool

	both, port               bool // answers from the other address and port, and from the other port
	bothRefused, portRefused bool
}

// sample is how the NAT has mapped the port of a fresh socket, in their order.
type sample struct{ local, mapped uint16 }

// hairpinFacts are about two sockets that have sent to each other's mapping.
type hairpinFacts struct{ tried, heard bool }

// judge says what follows. It does not guess: where the facts fit several cases the
// answer is Unknown.
func judge(f facts) Result {
	r := Result{Sent: f.sent, Answered: f.answered, RTT: f.rtt, Complete: f.filter.two}
	if !f.answered {
		if f.sent {
			r.Classic = UDPBlocked
		}
		return r
	}
	r.Address = f.address
	r.Mapping = JudgeMapping(f.views, func(a netip.AddrPort) bool { return a.Port() == f.port && f.isAddress(a.Addr()) })
	r.Filtering = judgeFiltering(f.filter)
	if r.Mapping == None && r.Filtering == EndpointIndependent {
		r.Filtering = None
	}
	r.Classic = judgeClassic(r.Mapping, r.Filtering)
	r.PortPreserving, r.Allocation = judgePorts(f.samples)
	switch {
	case f.hairpin.heard && r.Mapping != None:
		r.Hairpin = yes()
	case f.hairpin.tried && r.Mapping == EndpointIndependent:
		// With another mapping each knows of the other one that it does not send from.
		r.Hairpin = new(bool)
	}
	return r
}

// judgeFiltering is RFC 5780 section 4.4, and what of it one address is enough for.
func judgeFiltering(f filterFacts) Dependence {
	switch {
	case f.both:
		return EndpointIndependent
	case !f.reference:
		return Unknown
	case f.two && !f.bothRefused && f.port:
		return AddressDependent
	case f.able && !f.port && !f.portRefused:
		return AddressAndPortDependent
	}
	return Unknown
}

// judgeClassic is the name of RFC 3489 section 5.
func judgeClassic(mapping, filtering Dependence) Classic {
	switch mapping {
	case None:
		switch filtering {
		case None:
			return OpenInternet
		case AddressDependent, AddressAndPortDependent:
			return SymmetricFirewall
		}
	case EndpointIndependent:
		switch filtering {
		case EndpointIndependent:
			return FullCone
		case AddressDependent:
			return RestrictedCone
		case AddressAndPortDependent:
			return PortRestrictedCone
		}
	case AddressDependent, AddressAndPortDependent:
		return Symmetric
	}
	return ""
}

const (
	// fewestSamples are needed to tell an order from chance.
	fewestSamples = 4

	// longestStep is how far one mapping may be from the next in a sequence: other
	// machines behind the NAT, and the other tests, make some in between. By chance
	// six of seven are as near once in a million million times.
	longestStep = 32
)

// judgePorts says whether ports are mostly preserved, and how else they are chosen.
func judgePorts(samples []sample) (preserving *bool, a Allocation) {
	if len(samples) < fewestSamples {
		return nil, ""
	}
	same, near := 0, 0
	var mapped []uint16 // in the order of ports: packets overtake each other, and get lost
	for _, s := range samples {
		if s.mapped == s.local {
			same++
		}
		mapped = append(mapped, s.mapped)
	}
	slices.Sort(mapped)
	for i, p := range mapped[1:] {
		if p-mapped[i] <= longestStep {
			near++
		}
	}
	switch {
	case 2*same > len(samples):
		return yes(), Preserving
	case near >= (len(samples)-1)*3/4:
		return new(bool), Sequential
	}
	return new(bool), Random
}
