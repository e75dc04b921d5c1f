package tunnel

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
)

// Relays that were told by name are looked up when the network changes, and as
// often as this; after a failure sooner, from resolveRetry on, doubling.
const (
	resolveEvery = 5 * time.Minute
	resolveRetry = 2 * time.Second
	resolveFor   = 5 * time.Second
)

// setServers has the underlay use all relays that are known: the machine's own
// come first, so that a hub that names many cannot displace them.
func (n *Node) setServers() {
	n.tunnel.underlay.SetServers(slices.Concat(n.ownRelays, n.hubRelays))
}

// resolveRelays keeps the loop told of the addresses of Config.Relays until ctx
// ends; moved says that the network changed.
func (n *Node) resolveRelays(ctx context.Context, moved <-chan struct{}) {
	var told []peer.Server
	known := make(map[string][]netip.Addr) // by host; what was found last stays
	wait := resolveRetry
	for first := true; ; first = false {
		failed := false
		var servers []peer.Server
		for _, r := range n.cfg.Relays {
			addrs, err := lookup(ctx, r.Host)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				failed = true
				n.relayTrouble(r, err, first)
				addrs = known[r.Host]
			}
			known[r.Host] = addrs
			for _, a := range addrs {
				servers = append(servers, peer.Server{Addr: netip.AddrPortFrom(a, r.Port), Username: r.Username, Password: r.Password})
			}
		}
		if !slices.Equal(servers, told) {
			told = servers
			select {
			case n.calls <- func() { n.ownRelays = servers; n.setServers() }:
			case <-ctx.Done():
				return
			}
		}
		pause := resolveEvery
		if failed {
			pause, wait = wait, min(2*wait, resolveEvery)
		} else {
			wait = resolveRetry
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-moved:
		case <-t.C:
		}
		t.Stop()
	}
}

// relayTrouble says that a relay's name leads nowhere: to the user at first, then
// to the log.
func (n *Node) relayTrouble(r config.Relay, err error, first bool) {
	if first {
		n.progress("the relay %s cannot be looked up, trying again: %v", r.Host, err)
	}
	n.log.Debug("looking up a relay failed", "relay", r.Host, "err", err)
}

// lookup finds the first address of each family of a host.
func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveFor)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	var found []netip.Addr
	for _, a := range all {
		a = a.Unmap()
		if !slices.ContainsFunc(found, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			found = append(found, a)
		}
	}
	return found, nil
}

// RelayStatus is a relay that this machine may use.
type RelayStatus struct {
	Server  string   `json:"server"`  // ip:port, or the URI of one that is reached by a stream
	Address string   `json:"address"` // what peers send to: ip:port; "" without an allocation
	RTT     *float64 `json:"rtt_ms"`  // to the server; null: it never answered
	Held    bool     `json:"held"`    // an allocation is kept there, or tried for
	Error   string   `json:"error,omitempty"`
}

func relayStatus(relays []peer.RelayState) []RelayStatus {
	list := []RelayStatus{}
	for _, r := range relays {
		s := RelayStatus{Server: r.Server, RTT: milliseconds(r.RTT), Held: r.Held}
		if r.Addr.IsValid() {
			s.Address = r.Addr.String()
		}
		switch {
		case r.Silent:
			s.Error = "does not answer"
		case r.Err != nil:
			s.Error = r.Err.Error()
		}
		list = append(list, s)
	}
	return list
}

// milliseconds is nil for what is not known.
func milliseconds(d time.Duration) *float64 {
	if d <= 0 {
		return nil
	}
	ms := float64(d.Microseconds()) / 1000
	return &ms
}
