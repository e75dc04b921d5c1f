package peer

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/pion/ice/v4"
)

// CandidateType is a candidate's type in the spelling of RFC 8839 section 5.1.
type CandidateType string

// The candidate types of RFC 8445 section 5.1.1.
const (
	Host            CandidateType = "host"
	ServerReflexive CandidateType = "srflx"
	PeerReflexive   CandidateType = "prflx"
	Relayed         CandidateType = "relay"
)

// Type preferences of RFC 8445 section 5.1.2.2.
const (
	prefHost            = 126
	prefPeerReflexive   = 110
	prefServerReflexive = 100
	prefRelayed         = 0
)

// Candidate is an address under which this node may be reached.
type Candidate struct {
	Type  CandidateType
	Addr  netip.AddrPort // what a peer sends to
	Base  netip.AddrPort // for srflx the local address behind it, when known
	Relay *Relay         // the allocation of a relay candidate, else nil
}

// ownUse are IPv4 addresses that a machine has for itself, to reach IPv4 through a
// translator (RFC 7335): no other can send there.
var ownUse = netip.MustParsePrefix("192.0.0.0/29")

// Told says whether peers are told of c. What is not told is checked from all the
// same, and they see where that comes from.
func (c Candidate) Told() bool { return !ownUse.Contains(c.Addr.Addr()) }

// build makes the agent's form of c. The local preference (RFC 8445 section
// 5.1.2.1) tells candidates of one type apart: the higher, the sooner tried.
func (c Candidate) build(preference uint16) (ice.Candidate, error) {
	addr, port := c.Addr.Addr().String(), int(c.Addr.Port())
	switch c.Type {
	case Host:
		return ice.NewCandidateHost(&ice.CandidateHostConfig{
			Network: "udp", Address: addr, Port: port, Component: ice.ComponentRTP,
			Priority: priority(prefHost, preference),
		})
	case ServerReflexive:
		related, relatedPort := related(c.Base, c.Addr.Addr())
		return ice.NewCandidateServerReflexive(&ice.CandidateServerReflexiveConfig{
			Network: "udp", Address: addr, Port: port, Component: ice.ComponentRTP,
			Priority: priority(prefServerReflexive, preference),
			RelAddr:  related, RelPort: relatedPort,
		})
	case Relayed:
		related, relatedPort := related(netip.AddrPort{}, c.Addr.Addr())
		return ice.NewCandidateRelay(&ice.CandidateRelayConfig{
			Network: "udp", Address: addr, Port: port, Component: ice.ComponentRTP,
			Priority: priority(prefRelayed, preference), RelayProtocol: "udp",
			RelAddr: related, RelPort: relatedPort,
		})
	}
	return nil, fmt.Errorf("candidate %s: no local candidate can be of type %q", c.Addr, c.Type)
}

// priority is the formula of RFC 8445 section 5.1.2.1 for component 1.
func priority(typePreference uint32, localPreference uint16) uint32 {
	return typePreference<<24 | uint32(localPreference)<<8 | 255
}

// related gives the related address of a candidate, or the placeholder of
// RFC 8839 section 5.1 for one that is not told.
func related(base netip.AddrPort, like netip.Addr) (string, int) {
	switch {
	case base.IsValid() && !base.Addr().IsUnspecified():
		return base.Addr().String(), int(base.Port())
	case like.Is4():
		return "0.0.0.0", 9
	default:
		return "::", 9
	}
}

// maxCandidateLine bounds one candidate-attribute line, in bytes; the longest
// that this package writes has about 150.
const maxCandidateLine = 256

var errCandidate = errors.New("candidate is not usable")

// parseCandidate reads a candidate-attribute line (RFC 8839 section 5.1) of
// the peer. It takes UDP over literal unicast addresses only, that allow
// permits; nil allows all.
func parseCandidate(line string, allow func(netip.Addr) bool) (ice.Candidate, netip.AddrPort, error) {
	if len(line) > maxCandidateLine {
		return nil, netip.AddrPort{}, fmt.Errorf("%w: longer than %d bytes", errCandidate, maxCandidateLine)
	}
	c, err := ice.UnmarshalCandidate(line)
	if err != nil {
		return nil, netip.AddrPort{}, fmt.Errorf("%w: %w", errCandidate, err)
	}
	ip, err := netip.ParseAddr(c.Address())
	if err != nil {
		return nil, netip.AddrPort{}, fmt.Errorf("%w: not a literal address", errCandidate)
	}
	addr := netip.AddrPortFrom(ip, uint16(c.Port()))
	switch {
	case !c.NetworkType().IsUDP():
		return nil, addr, fmt.Errorf("%w: not UDP", errCandidate)
	case c.Component() != ice.ComponentRTP:
		return nil, addr, fmt.Errorf("%w: component %d", errCandidate, c.Component())
	case c.Priority() == 0:
		return nil, addr, fmt.Errorf("%w: priority 0", errCandidate)
	case !usable(addr) || allow != nil && !allow(ip):
		return nil, addr, fmt.Errorf("%w: address %s", errCandidate, addr)
	}
	return c, addr, nil
}

// usable says whether a datagram to a may be a way to a peer at all. A
// link-local IPv6 address is not: its zone means nothing to another machine.
func usable(a netip.AddrPort) bool {
	ip := a.Addr()
	return a.IsValid() && a.Port() != 0 && !ip.Is4In6() && ip.Zone() == "" &&
		!ip.IsUnspecified() && !ip.IsLoopback() && !ip.IsMulticast() &&
		!(ip.Is6() && ip.IsLinkLocalUnicast()) &&
		ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// canonical gives an address the one form that maps and comparisons here use.
func canonical(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
