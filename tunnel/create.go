package tunnel

import (
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
	"net/netip"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tun"
)

// CreateNetwork makes a network with this machine as its first member and
// holder of its key. An invalid prefix has one drawn that collides with
// nothing here. Nothing is stored yet.
func CreateNetwork(network, name string, prefix netip.Prefix, link config.HubLink) (*config.Node, error) {
	if err := signaling.CheckName(network); err != nil {
		return nil, fmt.Errorf("network %w", err)
	}
	prefix, err := choosePrefix(prefix)
	if err != nil {
		return nil, err
	}
	key := config.NewNetworkKey()
	n, err := newNode(name, key.Public(), link.Hub)
	if err != nil {
		return nil, err
	}
	n.NetworkName, n.Prefix, n.Creator, n.Access = network, prefix, &key, link.Access[:]
	rand.Read(n.Discovery[:])
	// No delegate can throw it out.
	n.Proof, err = signaling.NewRoster(n.Network).Install(signaling.NetworkAdmin(key), signaling.Record{
		Node: n.Key.Public(), Name: n.Name, WireGuard: n.WireGuard.Public(), Sealing: n.Sealing.Public(),
	}, prefix, n.Hub)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// PrepareJoin makes the keys with which this machine will ask for admission.
// Nothing is stored yet.
func PrepareJoin(invite config.Invite, name string) (*config.Node, error) {
	n, err := newNode(name, invite.Network, invite.Hub)
	if err != nil {
		return nil, err
	}
	n.Invite = &invite
	return n, nil
}

func newNode(name string, network config.NetworkKey, hub config.Hub) (*config.Node, error) {
	if err := signaling.CheckName(name); err != nil {
		return nil, err
	}
	return &config.Node{
		Key: config.NewNodeKey(), WireGuard: config.NewWireGuardKey(), Sealing: config.NewSealingKey(),
		Name: name, Network: network, Hub: hub,
	}, nil
}

// Networks are drawn from here: /16 prefixes of 10.0.0.0/8 that home routers
// rarely use, and never 100.64.0.0/10, which is CGNAT's.
const (
	drawFrom = 64
	drawTo   = 256
)

// choosePrefix checks the prefix that was asked for, or draws one.
func choosePrefix(want netip.Prefix) (netip.Prefix, error) {
	if want.IsValid() {
		if !want.Addr().Is4() || want.Bits() < 8 || want.Bits() > 28 || !want.Addr().IsPrivate() || want != want.Masked() {
			return want, config.WithHint(fmt.Errorf("prefix %v: want a private IPv4 network of /8 to /28", want), "for example 10.77.0.0/16")
		}
		return want, tun.CheckConflicts([]netip.Prefix{want}, "")
	}
	var conflict error
	for _, n := range mrand.Perm(drawTo - drawFrom) {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(drawFrom + n), 0, 0}), 16)
		if conflict = tun.CheckConflicts([]netip.Prefix{p}, ""); conflict == nil {
			return p, nil
		}
	}
	return want, config.WithHint(fmt.Errorf("no network between 10.64.0.0 and 10.255.0.0 is free here: %w", conflict), "choose one with --prefix")
}
