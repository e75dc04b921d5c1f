package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/p2ptun/p2ptun/peer/behavior"
)

// printNetcheck explains a report to a person.
func printNetcheck(w io.Writer, r *netcheckReport) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s:\t%s\n", name, fmt.Sprintf(format, args...))
	}
	if r.Hub.RTT != nil {
		row("hub", "%s answers after %s", r.Hub.URL, rttText(r.Hub.RTT))
	} else {
		row("hub", "%s does not answer: %s", r.Hub.URL, r.Hub.Error)
	}
	row("UDP", "%s", udpText(r))
	row("IPv4", "%s", ipv4Text(r.IPv4))
	if four := r.IPv4; four.Mapping != behavior.Unknown && four.Mapping != behavior.None {
		row("  mapping", "%s", mappingText(four))
		row("  ports", "%s", allocationText(four.Allocation))
		row("  hairpinning", "%s", knownText(four.Hairpin, "yes: machines behind this NAT reach each other by its address", "no"))
	}
	if r.IPv4.Mapping != behavior.Unknown {
		row("  filtering", "%s", filteringText(r.IPv4))
	}
	if l := r.IPv4.Lifetime; l != nil {
		row("  lifetime", "%s", lifetimeText(l))
	}
	row("IPv6", "%s", ipv6Text(r.IPv6))
	for _, relay := range r.Relays {
		text := "answers after " + rttText(relay.RTT)
		if !relay.OK {
			text = relay.Error
		}
		row("relay", "%s %s", relay.URL, text)
	}
	t.Flush()
	fmt.Fprintln(w)
	for _, line := range advice(r) {
		fmt.Fprintln(w, line)
	}
}

func udpText(r *netcheckReport) string {
	switch {
	case r.UDP:
		return "gets through"
	case r.Hub.RTT != nil:
		return "is blocked here: the hub answers over TCP, and nothing comes back over UDP"
	}
	return "nothing comes back"
}

func ipv4Text(r ipv4Report) string {
	switch {
	case r.Address == "":
		return "no answer"
	case r.Mapping == behavior.Unknown:
		return r.Address + ", as the hub sees this machine"
	case r.Classic == behavior.OpenInternet:
		return r.Address + ", no NAT and no firewall"
	case r.Mapping == behavior.None:
		return r.Address + ", no NAT"
	case r.Classic == "":
		return r.Address + ", behind a NAT"
	}
	return fmt.Sprintf("%s, behind a NAT of the kind %s", r.Address, r.Classic)
}

func mappingText(r ipv4Report) string {
	switch {
	case r.Mapping == behavior.EndpointIndependent:
		return "endpoint-independent: one port outside for all destinations"
	case r.Mapping == behavior.AddressDependent:
		return "address-dependent: another port outside for each destination address"
	}
	return "address-and-port-dependent: another port outside for each destination"
}

func filteringText(r ipv4Report) string {
	switch r.Filtering {
	case behavior.None:
		return "none: everybody gets in"
	case behavior.EndpointIndependent:
		return "endpoint-independent: everybody gets in by a port that is in use"
	case behavior.AddressDependent:
		return "address-dependent: addresses that were sent to get in, from any port"
	case behavior.AddressAndPortDependent:
		return "address-and-port-dependent: only who was sent to gets in"
	}
	if !r.complete {
		return "not known: it takes a hub with a second address (`p2ptun hub --alt-addr`)"
	}
	return "not known"
}

func allocationText(a behavior.Allocation) string {
	switch a {
	case behavior.Preserving:
		return "outside the same as inside, mostly"
	case behavior.Sequential:
		return "one after the other"
	case behavior.Random:
		return "at random"
	}
	return "not known"
}

func lifetimeText(l *lifetimeReport) string {
	if l.Dead == nil {
		return fmt.Sprintf("an unused mapping is kept for %v s at least", l.Alive)
	}
	return fmt.Sprintf("an unused mapping is kept for %v to %v s", l.Alive, *l.Dead)
}

func ipv6Text(r ipv6Report) string {
	if r.Address == "" {
		return "none that works"
	}
	return r.Address + ", " + knownText(r.Firewalled, "behind a firewall that lets in answers alone", "everybody gets in") + natText(r.Mapping)
}

func natText(m behavior.Dependence) string {
	if m == behavior.None || m == behavior.Unknown {
		return ""
	}
	return ", behind a NAT (" + string(m) + ")"
}

// knownText is one of two, or that it is not known.
func knownText(b *bool, yes, no string) string {
	switch {
	case b == nil:
		return "not known"
	case *b:
		return yes
	}
	return no
}

const (
	openPort = "To change that, forward a UDP port to this machine on the router (and name it with `up --port`), or switch UPnP or PCP on there."
	noRelay  = "No relay answers: what is not direct does not work."
)

// advice says what it means, and what can be done.
func advice(r *netcheckReport) (lines []string) {
	say := func(line string) { lines = append(lines, line) }
	switch four := r.IPv4; {
	case !r.UDP && r.Hub.RTT != nil:
		say("Nothing is direct here: all goes over relays, and these are reached over TCP alone.")
		say("Have the network's firewall let UDP out, at least to the hub's port 3478, and the hub's firewall let it in.")
		return lines
	case !r.UDP:
		say("Neither the hub nor any relay answers: it is down, or this machine is not connected to the internet.")
		return lines
	case four.Classic == behavior.OpenInternet:
		say("Every peer reaches this machine directly.")
	case four.Classic == behavior.SymmetricFirewall:
		say("Direct with all peers but those behind symmetric NATs, who go over a relay.")
		say("To change that, have the firewall let UDP in to this machine's port (`up --port`).")
	case four.Classic == behavior.FullCone, four.Classic == behavior.RestrictedCone:
		say("Direct with all peers, also with those behind symmetric NATs.")
	case four.Classic == behavior.PortRestrictedCone:
		say("Direct with all peers but those behind symmetric NATs, who go over a relay.")
		say(openPort)
	case four.Classic == behavior.Symmetric:
		say("Direct only with peers that are public, or behind full-cone or address-restricted NATs; all others go over a relay.")
		say(openPort)
	case four.Mapping == behavior.EndpointIndependent:
		say("Direct with most peers; whether also with those behind symmetric NATs depends on the filtering.")
	case four.Mapping == behavior.None:
		say("Direct with most peers; a firewall may keep out those behind symmetric NATs.")
	}
	if r.IPv6.Address != "" && r.IPv4.Classic != behavior.OpenInternet {
		say("Peers that have IPv6 too need no NAT between them.")
	}
	for _, relay := range r.Relays {
		if relay.OK {
			return lines
		}
	}
	say(noRelay)
	return lines
}
