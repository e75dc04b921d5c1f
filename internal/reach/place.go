package main

// place is one that a machine may stand in.
type place struct {
	kind  string // of e2e.Place
	title string
	short string // at the head of a column

	nat  nat  // before its IPv4, as far as it decides what is direct
	ipv6 bool // it has IPv6, behind a firewall at most
}

// nat is how an IPv4 network treats UDP.
type nat int

const (
	none   nat = iota // no UDP gets out, or no IPv4
	open              // who has the address reaches it, once it has sent there
	port              // only to whom it has sent, by address and port
	varied            // and it is another for each (symmetric)
)

// places are the rows and columns. Public hosts have no IPv6, which leaves the pair
// with a network of IPv6 alone to the relay.
var places = []place{
	{"public", "public", "public", open, false},
	{"full", "full-cone NAT", "full", open, false},
	{"address", "address-restricted NAT", "address", open, false},
	{"port", "port-restricted NAT", "port", port, false},
	{"symmetric", "symmetric NAT, random ports", "sym. random", varied, false},
	{"symmetric-sequential", "symmetric NAT, sequential ports", "sym. seq.", varied, false},
	{"cgnat-port", "CGNAT above a port-restricted NAT", "CGNAT port", port, false},
	{"cgnat-symmetric", "symmetric CGNAT above a port-restricted NAT", "CGNAT sym.", varied, false},
	{"no-udp", "UDP blocked", "no UDP", none, false},
	{"web", "TCP to ports 80 and 443 alone", "web only", none, false},
	{"ipv6", "IPv6 alone, firewall that tracks state", "IPv6 only", none, true},
	{"ipv6-firewall", "IPv6 firewall that tracks state, symmetric NAT", "IPv6 firewall", varied, true},
}

// direct says whether a pair has to be: by IPv6, or by IPv4 where what one side
// learns of its address at the hub is where the other reaches it, in spite of the
// other's NAT. More may be, by luck or by guesses.
func direct(a, b place) bool {
	if a.ipv6 && b.ipv6 {
		return true
	}
	if a.nat == none || b.nat == none {
		return false
	}
	return a.nat+b.nat < port+varied || a.nat == port && b.nat == port
}
