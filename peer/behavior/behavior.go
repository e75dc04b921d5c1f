// Package behavior finds out what the NATs and firewalls between this machine and
// the internet do with UDP: how they map ports and what they let in, in the words of
// RFC 4787, by the tests of RFC 5780, with the names of RFC 3489.
//
// It owns sockets of its own, which it opens for the tests and closes after them, so
// that it opens no way to any other. It knows nothing of nodes, peers or relays.
//
// The tests run side by side where they do not disturb each other ([Discover]); what
// follows from the answers is worked out in judge.go, which is pure.
package behavior

import (
	"net/netip"
	"time"
)

// Dependence says which part of the remote endpoint a NAT looks at: for its mappings
// (RFC 4787 section 4.1), or for what it lets in (section 5).
type Dependence string

// The dependences.
const (
	Unknown                 Dependence = ""
	None                    Dependence = "none" // there is no NAT, or nothing is filtered
	EndpointIndependent     Dependence = "endpoint-independent"
	AddressDependent        Dependence = "address-dependent"
	AddressAndPortDependent Dependence = "address-and-port-dependent"
)

// PerDestination says whether what there is is known to be another for each
// destination. Of a mapping that is called symmetric, too: what a STUN server sees of
// this machine is not what a peer would.
func (d Dependence) PerDestination() bool {
	return d == AddressDependent || d == AddressAndPortDependent
}

// Known returns d, or Unknown for one that is none of the above: a peer may say
// anything.
func (d Dependence) Known() Dependence {
	switch d {
	case None, EndpointIndependent, AddressDependent, AddressAndPortDependent:
		return d
	}
	return Unknown
}

// Allocation is how a NAT chooses the external port of a new mapping (RFC 4787
// section 4.2); "" is not known.
type Allocation string

// The allocations.
const (
	Preserving Allocation = "preserving" // the internal port, mostly
	Sequential Allocation = "sequential" // near the one before
	Random     Allocation = "random"
)

// Classic is the name that RFC 3489 section 5 has for all of it; "" is not known.
type Classic string

// The classic names.
const (
	OpenInternet       Classic = "open"
	FullCone           Classic = "full-cone"
	RestrictedCone     Classic = "restricted-cone"
	PortRestrictedCone Classic = "port-restricted-cone"
	Symmetric          Classic = "symmetric"
	SymmetricFirewall  Classic = "symmetric-firewall" // no NAT, and only answers come in
	UDPBlocked         Classic = "udp-blocked"
)

// Result is what was found out for one address family. What is not known is zero.
type Result struct {
	// Sent says that the machine had a way to send at all, Answered that something
	// came back.
	Sent, Answered bool

	Address   netip.Addr // this machine's, as a server sees it
	Mapping   Dependence
	Filtering Dependence
	Classic   Classic

	Hairpin        *bool // two sockets here reach each other by their external addresses
	PortPreserving *bool // mostly
	Allocation     Allocation

	// Complete says that the server has a second address: only then all kinds of
	// filtering can be told apart.
	Complete bool

	RTT time.Duration // to the server
}

// Report is what was found out for both families.
type Report struct{ IPv4, IPv6 Result }

// Firewalled says whether what nobody asked for is kept out; nil: not known.
func (r Result) Firewalled() *bool {
	switch r.Filtering {
	case Unknown:
		return nil
	case None, EndpointIndependent:
		return new(bool)
	}
	return yes()
}

func yes() *bool {
	b := true
	return &b
}
