package natlab

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// outbound finds or makes the mapping of a packet from inside and translates
// its source. The caller's chain goes on with the translated packet.
func (r *ruleset) outbound() []rule {
	rules := []rule{r.refreshClaim(), r.translateSource()}
	for _, candidate := range r.candidates() {
		rules = append(rules, steps(
			internalEndpoint(ipSource, sourcePort, ipDestination, destPort),
			candidate,
			r.claim(),
			enter(r.externals, dynsetAdd, regExternalPort, regInternalAddr),
			enter(r.mappings, dynsetAdd, regInternalAddr, regExternalPort),
			goTo(chainMapped)))
	}
	return append(rules, drop())
}

// claim ends the rule if the external port is taken. It is atomic: of two hosts
// that try one port at once, one gets it. Looking the port up first and entering
// it then would give it to both.
func (r *ruleset) claim() rule {
	once := &expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeWeek, Burst: 1}
	return rule{&expr.Dynset{SetID: r.taken.ID, SetName: r.taken.Name, Operation: dynsetUpdate,
		SrcRegKey: regExternalPort, Exprs: []expr.Any{once}}}
}

// refreshClaim keeps a mapping's port taken. Claiming it again renews its
// timeout and then, being over the limit, ends the rule; hence a rule of its own.
func (r *ruleset) refreshClaim() rule {
	return steps(
		internalEndpoint(ipSource, sourcePort, ipDestination, destPort),
		find(r.mappings, regInternalAddr, regExternalPort),
		r.claim())
}

// candidates are the ways to choose a new external port, in the order tried.
// The random ones at the end stand in when the policy's own port is taken.
func (r *ruleset) candidates() []rule {
	random := number(unix.NFT_NG_RANDOM, firstRandom, randomCount)
	tries := []rule{random, random, random, random}
	switch r.behavior.Ports {
	case Preserving:
		tries[0] = load(regExternalPort, sourcePort)
	case Sequential:
		tries[0] = number(unix.NFT_NG_INCREMENTAL, firstSequential, sequentialCount)
	}
	return tries
}

// number puts a generated port into the external port's register.
func number(kind uint32, first, count uint32) rule {
	return rule{
		&expr.Numgen{Register: regExternalPort, Type: kind, Modulus: count, Offset: first},
		// The generator counts in host order, 32 bits wide; a port is its
		// low half (first in memory on a little-endian machine), swapped.
		&expr.Byteorder{SourceRegister: regExternalPort, DestRegister: regExternalPort,
			Op: expr.ByteorderHton, Len: 2, Size: 2},
	}
}

// translateSource rewrites the source of a packet that has a mapping, and
// refreshes the tables.
func (r *ruleset) translateSource() rule {
	return steps(
		internalEndpoint(ipSource, sourcePort, ipDestination, destPort),
		find(r.mappings, regInternalAddr, regExternalPort),
		enter(r.externals, dynsetUpdate, regExternalPort, regInternalAddr),
		enter(r.mappings, dynsetUpdate, regInternalAddr, regExternalPort),
		load(regPeerAddr, ipDestination),
		load(regPeerPort, destPort),
		enter(r.contacted, dynsetUpdate, regExternalPort, 0),
		store(regExternalPort, sourcePort, udpChecksum),
		constant(regScratch, r.wan.AsSlice()...),
		store(regScratch, ipSource, ipAndUDPChecksum),
		verdict(expr.VerdictReturn, ""))
}

// inbound filters a packet for the external address and translates its
// destination.
func (r *ruleset) inbound() []rule {
	var rules []rule
	if r.behavior.Filtering != EndpointIndependent {
		rules = append(rules, steps(
			load(regExternalPort, destPort),
			load(regPeerAddr, ipSource),
			load(regPeerPort, sourcePort),
			rule{&expr.Lookup{SetID: r.contacted.ID, SetName: r.contacted.Name,
				SourceRegister: regExternalPort, Invert: true}},
			drop()))
	}
	return append(rules, steps(
		load(regExternalPort, destPort),
		find(r.externals, regExternalPort, regInternalAddr),
		store(regInternalAddr, ipDestination, ipAndUDPChecksum),
		store(regInternalPort, destPort, udpChecksum),
		accept()), drop())
}

// errorInbound translates an ICMP error from outside about a packet that went
// out: it quotes the packet as the outside saw it. The quoted header's sum
// changes by as much as the header, so ICMP's own checksum, which covers both,
// is touched by the port alone.
func (r *ruleset) errorInbound(icmp byte) rule {
	return steps(from(ifWAN), isAddr(ipDestination, r.wan), quotesUDP(icmp),
		load(regExternalPort, quotedSourcePort),
		find(r.externals, regExternalPort, regInternalAddr),
		store(regInternalAddr, quotedSource, quotedIPChecksum),
		store(regInternalPort, quotedSourcePort, icmpChecksum),
		store(regInternalAddr, ipDestination, ipChecksum),
		constant(regScratch, binaryutil.NativeEndian.PutUint32(markError)...),
		rule{&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: regScratch}},
		accept())
}

// errorOutbound translates an ICMP error from inside about a packet that came
// in: it quotes the packet as the inside saw it.
func (r *ruleset) errorOutbound(icmp byte) rule {
	return steps(to(ifWAN), quotesUDP(icmp),
		internalEndpoint(quotedDestination, quotedDestPort, quotedSource, quotedSourcePort),
		find(r.mappings, regInternalAddr, regExternalPort),
		store(regExternalPort, quotedDestPort, icmpChecksum),
		constant(regScratch, r.wan.AsSlice()...),
		store(regScratch, quotedDestination, quotedIPChecksum),
		store(regScratch, ipSource, ipChecksum),
		accept())
}

// quotesUDP matches an ICMP error about a UDP packet without IP options.
func quotesUDP(icmp byte) rule {
	return steps(protocol(unix.IPPROTO_ICMP), is(icmpType, icmp),
		is(quotedVersion, 0x45), is(quotedProtocol, unix.IPPROTO_UDP))
}

// internalEndpoint loads the key of mappings. What the mapping does not
// depend on is loaded all the same, and not looked at.
func internalEndpoint(addr, port, remoteAddr, remotePort field) rule {
	return steps(
		load(regInternalAddr, addr), load(regInternalPort, port),
		load(regRemoteAddr, remoteAddr), load(regRemotePort, remotePort))
}

// Operations of a Dynset. Add leaves an element that exists as it is;
// update renews its timeout, and only that.
const (
	dynsetAdd    = unix.NFT_DYNSET_OP_ADD
	dynsetUpdate = unix.NFT_DYNSET_OP_UPDATE
)

// enter puts the key, and with a map the data, into a table.
func enter(s *nftables.Set, op, key, data uint32) rule {
	return rule{&expr.Dynset{SetID: s.ID, SetName: s.Name, Operation: op, SrcRegKey: key, SrcRegData: data}}
}

// find ends the rule if the map lacks the key.
func find(s *nftables.Set, key, data uint32) rule {
	return rule{&expr.Lookup{SetID: s.ID, SetName: s.Name, SourceRegister: key, DestRegister: data, IsDestRegSet: true}}
}
