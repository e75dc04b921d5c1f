package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// hosts are the machines of the lab.
type hosts struct {
	hub   *natlab.Host
	homes [3]*natlab.NAT
	nodes [3]*natlab.Host
}

// build makes the lab: see [hosts.picture].
func build(lab *natlab.Lab) (*hosts, error) {
	h := new(hosts)
	hub, err := lab.PublicHost("hub")
	h.hub = hub
	for i, nat := range []natlab.Behavior{natlab.PortRestricted, natlab.PortRestricted, natlab.Symmetric} {
		home, natErr := lab.NAT(fmt.Sprintf("home%d", i+1), nat)
		if err = errors.Join(err, natErr); err != nil {
			return nil, err
		}
		h.homes[i] = home
		h.nodes[i], err = home.Host(fmt.Sprintf("node%d", i+1))
	}
	return h, err
}

func (h *hosts) picture() string {
	row := func(hub any, nodes ...any) string {
		return fmt.Sprintf("  %-16v%-18v%-18v%v\n", append([]any{hub}, nodes...)...)
	}
	var wan, lan [3]any
	for i := range h.nodes {
		wan[i], lan[i] = h.homes[i].Addr(), h.nodes[i].Addr()
	}
	return "a test internet of network namespaces; nothing outside it is touched\n\n" +
		"  ───┬───────────────┬─────────────────┬─────────────────┬───  public internet\n" +
		row("   │", "   │", "   │", "   │") +
		row("  hub", "  home1", "  home2", "  home3") +
		row(h.hub.Addr(), wan[:]...) +
		row("", "port-restricted", "port-restricted", "symmetric NAT") +
		row("", "   │", "   │", "   │") +
		row("", "  node1", "  node2", "  node3") +
		row("", lan[:]...) +
		"\nEvery machine also gets --state, --socket, --name and --log-… of its own, for they\n" +
		"share one file system. Lines with a $ are commands; secrets are cut short.\n"
}

// prefix is the network's, given with --prefix so that it is known whom to
// ping before there is anybody: the nodes have its first addresses in order.
var prefix = netip.MustParsePrefix("10.77.0.0/16")

func address(node int) netip.Addr {
	a := prefix.Addr().Next()
	for range node {
		a = a.Next()
	}
	return a
}
