package tunnel

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// A member cannot pass for another by taking its ID for a name.
func TestFindPrefersIDs(t *testing.T) {
	key := config.NewNetworkKey()
	n := &Node{roster: signaling.NewRoster(key.Public())}
	victim := config.NodeKey{1}
	for _, r := range []signaling.Record{
		{Node: victim, Name: "pc", IPv4: netip.MustParseAddr("10.77.0.1"), WireGuard: config.WireGuardKey{1}, Sealing: config.SealingKey{1}},
		{Node: config.NodeKey{2}, Name: victim.ID().String(), IPv4: netip.MustParseAddr("10.77.0.2"), WireGuard: config.WireGuardKey{2}, Sealing: config.SealingKey{2}},
	} {
		rec, err := signaling.NetworkAdmin(key).Record(r)
		if err != nil {
			t.Fatal(err)
		}
		if c := n.roster.Merge(rec.Bytes()); len(c.Added) != 1 {
			t.Fatalf("%+v", c)
		}
	}
	for _, name := range []string{"pc", victim.ID().String()} {
		if rec, err := n.find(name); err != nil || rec.Node != victim {
			t.Errorf("%s: %v, %v", name, rec, err)
		}
	}
	if rec, err := n.find("nobody"); err == nil || config.HintOf(err) == "" {
		t.Errorf("nobody is %v, %v", rec, err)
	}
}

// A hostile admin gives nobody an address that is not the network's.
func TestForeignAddresses(t *testing.T) {
	l := newGossipLab(t, "pc")
	n := l.nodes["pc"].Node
	n.node.Prefix = netip.MustParsePrefix("10.77.0.0/16")
	for addr, ours := range map[string]bool{"10.77.3.4": true, "10.78.0.1": false, "192.0.2.1": false} {
		rec, err := signaling.NetworkAdmin(l.network).Record(signaling.Record{
			Node: n.self.Node.Public(), Name: "pc", IPv4: netip.MustParseAddr(addr), WireGuard: config.WireGuardKey{1}, Sealing: config.SealingKey{1},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(n.allowedIPs(&member{record: rec}), "allowed_ip="+addr); got != ours {
			t.Errorf("%s: the member may have it: %v", addr, got)
		}
		n.roster = signaling.NewRoster(l.network.Public())
		n.roster.Merge(rec.Bytes())
		if _, err := n.own(); (err == nil) != ours {
			t.Errorf("%s: this machine's own: %v", addr, err)
		}
	}
}
