package natlab

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/google/nftables"
)

// install6 writes the firewall for IPv6, which translates nothing and only tracks
// state: a packet from outside has to answer one from inside, by both addresses and
// both ports. Two that send to each other so open both their firewalls.
func (n *NAT) install6() error {
	seconds := strconv.Itoa(max(1, int(n.behavior.timeout().Seconds())))
	const udp = "netfilter/nf_conntrack_udp_timeout"
	// User namespaces may not be let at it, and live with the kernel's 30 s.
	err := n.ns.sysctl(udp, seconds, udp+"_stream", seconds)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
		return err
	}
	return n.ns.do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return fmt.Errorf("natlab: nftables in %s: %w", n.ns.name, err)
		}
		r := &ruleset{conn: conn, behavior: n.behavior, inner: ifLAN}
		r.table = &nftables.Table{Name: "natlab6", Family: nftables.TableFamilyIPv6}
		conn.AddTable(r.table)
		rules := append(r.firewall(), steps(from(ifLAN), accept()), steps(tracked(), accept()))
		if !n.open6 {
			rules = append(rules, drop())
		}
		r.chain("forward", &hook{nftables.ChainTypeFilter, nftables.ChainHookForward,
			nftables.ChainPriorityFilter, nftables.ChainPolicyAccept}, rules...)
		if err := conn.Flush(); err != nil {
			return fmt.Errorf("natlab: install the IPv6 firewall of %s: %w", n.ns.name, err)
		}
		return nil
	})
}
