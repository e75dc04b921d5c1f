package natlab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The firewall of a NAT router. Linux's own NAT is connection tracking: it
// filters by address and port only, shares one external port between
// internal hosts, and remaps a punching flow when the peer's packet came first.
// So UDP is taken out of it (notrack) and every packet is rewritten from tables
// that packets fill, which is RFC 4787 to the letter, in the kernel, GSO batches
// included:
//
//	mappings   internal endpoint [+ remote address [+ remote port]] → external port
//	externals  external port → internal endpoint
//	contacted  external port + remote address [+ remote port]        (the filter)
//	taken      external port, with a limit of one claim
//
// A packet from inside, leaving through wan (chain outbound):
//  1. mappings has its port: refresh all tables, rewrite the source.
//  2. Otherwise claim candidate ports until one is not taken, enter it in both
//     maps, and do 1.
//
// A packet from outside, before routing (chain inbound):
//  1. The filter is not endpoint-independent and contacted lacks its source: drop.
//  2. externals has its port: rewrite the destination; otherwise drop.
//
// ICMP errors that quote a UDP packet are rewritten the same way (REQ-14).
// Everything else is masqueraded by the kernel. UDP packets without a
// checksum, which no socket sends unless told to, are not supported.
const (
	chainOutbound = "outbound" // source translation
	chainMapped   = "mapped"   // its end, for a mapping just made
	chainInbound  = "inbound"  // filter and destination translation

	ifWAN = "wan"
	ifLAN = "lan"

	// Port ranges; below 1024 is never given out (RFC 4787 REQ-3).
	firstSequential, sequentialCount = 30000, 30000
	firstRandom, randomCount         = 1024, 65536 - 1024

	// maxMappings bounds each table of one NAT.
	maxMappings = 65536

	// markError marks ICMP errors that were translated, for the forward chain.
	markError = 1
)

// Types of ICMP messages that quote a packet (RFC 792).
var icmpErrors = []byte{3, 11, 12} // destination unreachable, time exceeded, parameter problem

// ruleset writes one router's firewall into an nftables batch.
type ruleset struct {
	conn     *nftables.Conn
	table    *nftables.Table
	behavior Behavior
	inner    string // the interface that what is translated comes from
	wan      netip.Addr

	mappings, externals, contacted, taken *nftables.Set
}

func newRuleset(conn *nftables.Conn, b Behavior, inner string, wan netip.Addr) *ruleset {
	r := &ruleset{conn: conn, behavior: b, inner: inner, wan: wan}
	r.table = &nftables.Table{Name: "natlab", Family: nftables.TableFamilyIPv4}
	endpoint := concat(nftables.TypeIPAddr, nftables.TypeInetService)
	r.mappings = r.set(1, "mappings", concat(r.key(nftables.TypeIPAddr, nftables.TypeInetService)...))
	r.mappings.IsMap, r.mappings.DataType = true, nftables.TypeInetService
	r.externals = r.set(2, "externals", nftables.TypeInetService)
	r.externals.IsMap, r.externals.DataType = true, endpoint
	filter := []nftables.SetDatatype{nftables.TypeInetService, nftables.TypeIPAddr}
	if b.Filtering == AddressAndPortDependent {
		filter = append(filter, nftables.TypeInetService)
	}
	r.contacted = r.set(3, "contacted", concat(filter...))
	r.taken = r.set(4, "taken", nftables.TypeInetService)
	return r
}

func concat(types ...nftables.SetDatatype) nftables.SetDatatype {
	return nftables.MustConcatSetType(types...)
}

// key appends to the internal endpoint's types those of the remote that the
// mapping depends on.
func (r *ruleset) key(types ...nftables.SetDatatype) []nftables.SetDatatype {
	if r.behavior.Mapping >= AddressDependent {
		types = append(types, nftables.TypeIPAddr)
	}
	if r.behavior.Mapping == AddressAndPortDependent {
		types = append(types, nftables.TypeInetService)
	}
	return types
}

// set describes a table that packets fill. The ID is given because the library
// would otherwise draw it from an unguarded global.
func (r *ruleset) set(id uint32, name string, key nftables.SetDatatype) *nftables.Set {
	return &nftables.Set{
		Table: r.table, ID: id, Name: name, KeyType: key, Size: maxMappings,
		Dynamic: true, HasTimeout: true, Timeout: r.behavior.timeout(),
	}
}

// install replaces the firewall by this one, tables empty.
func (r *ruleset) install() error {
	r.conn.AddTable(r.table) // so that deleting it cannot fail
	r.conn.DelTable(r.table)
	r.conn.AddTable(r.table)
	for _, s := range []*nftables.Set{r.mappings, r.externals, r.contacted, r.taken} {
		if err := r.conn.AddSet(s, nil); err != nil {
			return fmt.Errorf("natlab: table %s: %w", s.Name, err)
		}
	}
	r.chain(chainMapped, nil, r.translateSource(), drop())
	r.chain(chainOutbound, nil, r.outbound()...)
	r.chain(chainInbound, nil, r.inbound()...)
	r.prerouting()
	r.forwarding()
	r.postrouting()
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("natlab: install the firewall: %w", err)
	}
	return nil
}

// hook is where a base chain sits.
type hook struct {
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	policy   nftables.ChainPolicy
}

func (r *ruleset) chain(name string, h *hook, rules ...rule) {
	c := &nftables.Chain{Name: name, Table: r.table}
	if h != nil {
		c.Type, c.Hooknum, c.Priority, c.Policy = h.kind, h.hook, h.priority, &h.policy
	}
	r.conn.AddChain(c)
	for _, exprs := range rules {
		r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: c, Exprs: exprs})
	}
}

func (r *ruleset) prerouting() {
	udp := protocol(unix.IPPROTO_UDP)
	rules := r.firewall()
	rules = append(rules,
		steps(udp, rule{&expr.Notrack{}}),
		steps(from(ifWAN), udp, notAddr(ipDestination, r.wan), drop()),
		steps(from(ifWAN), udp, goTo(chainInbound)),
	)
	ownAddress := steps(from(r.inner), udp, isAddr(ipDestination, r.wan))
	if r.behavior.Hairpin {
		rules = append(rules,
			steps(ownAddress, jump(chainOutbound)),
			steps(ownAddress, goTo(chainInbound)))
	} else {
		rules = append(rules, steps(ownAddress, drop()))
	}
	for _, t := range icmpErrors {
		rules = append(rules, r.errorInbound(t))
	}
	r.chain("prerouting", &hook{nftables.ChainTypeFilter, nftables.ChainHookPrerouting,
		nftables.ChainPriorityRaw, nftables.ChainPolicyAccept}, rules...)
}

// firewall drops what may not leave the LAN, before it makes a mapping.
func (r *ruleset) firewall() []rule {
	switch r.behavior.Firewall {
	case NoUDP:
		return []rule{steps(from(r.inner), protocol(unix.IPPROTO_UDP), drop())}
	case WebOnly:
		tcp := protocol(unix.IPPROTO_TCP)
		return []rule{
			steps(from(r.inner), tcp, is(destPort, 0, 80), accept()),
			steps(from(r.inner), tcp, is(destPort, 443>>8, 443&0xff), accept()),
			steps(from(r.inner), drop()),
		}
	}
	return nil
}

// forwarding lets in what inbound translated and what belongs to a connection
// from inside, and drops the rest.
func (r *ruleset) forwarding() {
	r.chain("forward", &hook{nftables.ChainTypeFilter, nftables.ChainHookForward,
		nftables.ChainPriorityFilter, nftables.ChainPolicyDrop},
		steps(from(r.inner), accept()),
		steps(from(ifWAN), protocol(unix.IPPROTO_UDP), accept()),
		steps(meta(expr.MetaKeyMARK, binaryutil.NativeEndian.PutUint32(markError)), accept()),
		steps(tracked(), accept()))
	r.chain("input", &hook{nftables.ChainTypeFilter, nftables.ChainHookInput,
		nftables.ChainPriorityFilter, nftables.ChainPolicyAccept},
		steps(from(ifWAN), protocol(unix.IPPROTO_ICMP), accept()),
		steps(from(ifWAN), tracked(), accept()),
		steps(from(ifWAN), drop()))
}

func (r *ruleset) postrouting() {
	r.chain("masquerade", &hook{nftables.ChainTypeNAT, nftables.ChainHookPostrouting,
		nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept},
		steps(to(ifWAN), rule{&expr.Masq{}}))
	rules := []rule{steps(to(ifWAN), protocol(unix.IPPROTO_UDP), goTo(chainOutbound))}
	for _, t := range icmpErrors {
		rules = append(rules, r.errorOutbound(t), steps(to(ifWAN), quotesUDP(t), drop()))
	}
	r.chain("postrouting", &hook{nftables.ChainTypeFilter, nftables.ChainHookPostrouting,
		nftables.ChainPriorityConntrackHelper, nftables.ChainPolicyAccept}, rules...)
}
