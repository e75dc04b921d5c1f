package natlab

import (
	"fmt"
	"time"
)

// Dependence says which part of the remote endpoint a NAT looks at, for its
// mappings (RFC 4787 section 4.1) or for its filters (section 5).
type Dependence uint8

const (
	EndpointIndependent     Dependence = iota // any remote endpoint
	AddressDependent                          // remote address
	AddressAndPortDependent                   // remote address and port
)

func (d Dependence) String() string {
	switch d {
	case EndpointIndependent:
		return "endpoint-independent"
	case AddressDependent:
		return "address-dependent"
	case AddressAndPortDependent:
		return "address-and-port-dependent"
	}
	return fmt.Sprintf("dependence %d", uint8(d))
}

// Ports says how a NAT chooses the external port of a new UDP mapping
// (RFC 4787 section 4.2). A port in use by another mapping is never given out
// twice ("no port overlapping"); the NAT then falls back to a random one.
type Ports uint8

const (
	Preserving Ports = iota // the internal port, if it is free
	Sequential              // one after the other, from firstSequential on
	Random                  // any from firstRandom on
)

// Firewall says what a NAT lets out, whatever its mappings would allow.
type Firewall uint8

const (
	Open    Firewall = iota // everything
	NoUDP                   // everything but UDP
	WebOnly                 // TCP to ports 80 and 443, nothing else
)

// DefaultTimeout is how long an idle UDP mapping lives: the least that
// RFC 4787 REQ-5 allows.
const DefaultTimeout = 2 * time.Minute

// Behavior is what a NAT does with UDP, in the terms of RFC 4787, and what its
// firewall lets out. TCP and ICMP always go through as on a Linux router:
// mapped per connection and closed to anything unsolicited.
type Behavior struct {
	Mapping   Dependence
	Filtering Dependence // kept per mapping, never per NAT
	Ports     Ports

	// Hairpin lets two hosts of one LAN reach each other through their
	// external addresses, with the external source address (REQ-9). Without
	// it such packets are dropped.
	Hairpin bool

	Firewall Firewall

	// Timeout ends a mapping, and a filter entry, that no packet from inside
	// has refreshed for so long. Zero means DefaultTimeout.
	Timeout time.Duration
}

// The NATs of the classic names (RFC 3489 section 5). Copy and change one to
// get a variant.
var (
	Full                = Behavior{Mapping: EndpointIndependent, Filtering: EndpointIndependent}
	AddressRestricted   = Behavior{Mapping: EndpointIndependent, Filtering: AddressDependent}
	PortRestricted      = Behavior{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent}
	Symmetric           = Behavior{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: Random}
	SymmetricSequential = Behavior{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: Sequential}
)

// Parse returns the behavior with a classic name: full, address, port,
// symmetric or symmetric-sequential.
func Parse(name string) (Behavior, error) {
	switch name {
	case "full":
		return Full, nil
	case "address":
		return AddressRestricted, nil
	case "port":
		return PortRestricted, nil
	case "symmetric":
		return Symmetric, nil
	case "symmetric-sequential":
		return SymmetricSequential, nil
	}
	return Behavior{}, fmt.Errorf("natlab: no NAT is named %q (full, address, port, symmetric, symmetric-sequential)", name)
}

func (b Behavior) timeout() time.Duration {
	if b.Timeout == 0 {
		return DefaultTimeout
	}
	return b.Timeout
}
