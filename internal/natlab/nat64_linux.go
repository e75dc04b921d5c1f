package natlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
)

// NAT64 is tayga in the router's namespace, between an interface of its own and the
// NAT's translation, which it needs: it gives each host an address of a pool.
//
//	LAN ── 2001:db8:64::192.0.2.2 ──► nat64 (tayga) ── 192.168.255.x ──► wan
const (
	ifNAT64 = "nat64"
	tayga   = "tayga"
)

var (
	pool64     = netip.MustParsePrefix("192.168.255.0/24")
	resolver64 = netip.MustParseAddr("fd00:64::53") // in the router
)

// NAT64Available reports why labs here have no NAT64, or nil if they have.
func NAT64Available() error {
	if _, err := exec.LookPath(tayga); err != nil {
		return fmt.Errorf("natlab: NAT64 needs tayga (apt-get install tayga): %w", err)
	}
	return TUNAvailable()
}

// startNAT64 makes the router translate, and answer its hosts' resolvers.
func (n *NAT) startNAT64(prefix netip.Prefix) error {
	if err := n.runTayga(prefix); err != nil {
		return fmt.Errorf("natlab: NAT64 of %s: %w", n.ns.name, err)
	}
	n.inner = ifNAT64
	if err := (end{n.ns, "lo"}).put6(netip.PrefixFrom(resolver64, 128), 0, 0); err != nil {
		return err
	}
	server, err := startDNS64(n.ns, netip.AddrPortFrom(resolver64, 53), prefix)
	if err != nil {
		return err
	}
	n.resolver = resolver64
	n.lab.ending = append(n.lab.ending, server.close)
	return nil
}

// runTayga makes the interface, and starts tayga on it.
func (n *NAT) runTayga(prefix netip.Prefix) error {
	config := fmt.Sprintf("tun-device %s\nipv4-addr %s\nprefix %s\ndynamic-pool %s\n",
		ifNAT64, pool64.Addr().Next(), prefix.Masked(), pool64)
	command := func(args ...string) *Cmd {
		c := &Cmd{exec.CommandContext(context.Background(), tayga, append(args, "--config", "/dev/stdin")...), n.ns, n.lab.spawner}
		c.Stdin = strings.NewReader(config)
		return c
	}
	if out, err := command("--mktun").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	tun := end{n.ns, ifNAT64}
	err := n.ns.up(ifNAT64)
	if err == nil {
		err = tun.enable6()
	}
	if err == nil {
		err = errors.Join(n.ns.route(ifNAT64, pool64, netip.Addr{}), n.ns.route(ifNAT64, prefix.Masked(), netip.Addr{}))
	}
	if err != nil {
		return err
	}
	daemon := command("--nodetach")
	if err := daemon.Start(); err != nil {
		return err
	}
	go daemon.Wait() // it ends with the lab
	// Until tayga has opened the interface it has no carrier; then it has, and no
	// state: it is a tunnel.
	return n.ns.await(ifNAT64, func(s netlink.LinkOperState) bool { return s == netlink.OperUp || s == netlink.OperUnknown })
}
