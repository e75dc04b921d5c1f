package tunnel

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/signaling"
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
	n.tunnel.underlay.SetServers(n.native(slices.Concat(n.ownRelays, n.hubRelays, n.moreRelays)))
}

// relayNews is what resolveRelays finds.
type relayNews struct{ own, more []peer.Server }

// resolveRelays keeps the loop told of where the relays are that Config and the hub
// have named, until ctx ends; look says that the network changed, or that the hub has
// named others.
func (n *Node) resolveRelays(ctx context.Context, look <-chan struct{}) {
	var told relayNews
	r := relayResolver{node: n, known: make(map[string][]netip.Addr), streams: make(map[string]*peer.Stream)}
	wait := resolveRetry
	for {
		var news relayNews
		var failed bool
		news.own, failed = r.servers(ctx, n.cfg.Relays, true)
		named := n.named.Load()
		if named == nil {
			named = new([]config.Relay)
		}
		more, unknown := r.servers(ctx, *named, false)
		news.more, failed = more, failed || unknown
		r.forget(n.cfg.Relays, *named)
		if ctx.Err() != nil {
			return
		}
		if !slices.Equal(news.own, told.own) || !slices.Equal(news.more, told.more) {
			told = news
			select {
			case n.calls <- func() { n.ownRelays, n.moreRelays = news.own, news.more; n.setServers() }:
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
		case <-look:
		case <-t.C:
		}
		t.Stop()
	}
}

// relayResolver finds relays by their names.
type relayResolver struct {
	node    *Node
	known   map[string][]netip.Addr // by host; what was found last stays
	streams map[string]*peer.Stream // by name
}

// forget leaves what is known of the relays alone that are named still.
func (rr *relayResolver) forget(named ...[]config.Relay) {
	all := slices.Concat(named...)
	maps.DeleteFunc(rr.known, func(host string, _ []netip.Addr) bool {
		return !slices.ContainsFunc(all, func(r config.Relay) bool { return r.Host == host })
	})
	maps.DeleteFunc(rr.streams, func(name string, _ *peer.Stream) bool {
		return !slices.ContainsFunc(all, func(r config.Relay) bool { return r.Name() == name })
	})
}

// servers are the relays, of this machine's choice or of the hub's, as the underlay
// uses them; failed says that a name led nowhere. A stream's name is looked up when it
// is made.
func (rr *relayResolver) servers(ctx context.Context, relays []config.Relay, own bool) (servers []peer.Server, failed bool) {
	for _, r := range relays {
		user, password := r.Credentials(time.Now())
		if r.Transport != config.RelayUDP {
			servers = append(servers, peer.Server{Stream: rr.stream(r, own), IPv6: isIPv6(r.Host), Username: user, Password: password})
			continue
		}
		addrs, err := lookup(ctx, r.Host)
		if ctx.Err() != nil {
			return nil, false
		}
		if err != nil {
			_, again := rr.known[r.Host]
			rr.node.relayTrouble(r, err, !again)
			addrs, failed = rr.known[r.Host], true
		}
		rr.known[r.Host] = addrs
		for _, a := range addrs {
			servers = append(servers, peer.Server{Addr: netip.AddrPortFrom(a, r.Port), Username: user, Password: password})
		}
	}
	return servers, failed
}

func isIPv6(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Is6()
}

// stream is the way to a relay; the same at each call, which tells it from others.
func (rr *relayResolver) stream(r config.Relay, own bool) *peer.Stream {
	name := r.Name()
	if s := rr.streams[name]; s != nil {
		return s
	}
	way := signaling.RelayTCP
	if r.Transport == config.RelayTLS {
		way = signaling.RelayTLS
	}
	dial := rr.node.dial
	if !own {
		dial = rr.node.dialNamed(r)
	}
	s := &peer.Stream{URL: name, Cost: wayCosts[way], Dial: func(ctx context.Context) (net.Conn, error) {
		return signaling.DialRelay(ctx, dial, r)
	}}
	rr.streams[name] = s
	return s
}

// dialNamed is dial for a relay that the hub has named: it leads to no place that a
// server over UDP could not be at. The environment's proxy may be anywhere.
func (n *Node) dialNamed(r config.Relay) signaling.DialFunc {
	target := net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port)))
	guarded := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || len(n.tunnel.underlay.Servers([]netip.AddrPort{at})) == 0 {
			return fmt.Errorf("the hub names a relay at %s, where none can be", address)
		}
		return nil
	}}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != target {
			return n.dial(ctx, network, addr)
		}
		return n.dialWith(ctx, guarded, network, addr)
	}
}

// wayCosts say which way to a relay is to be had before which: TLS costs processor
// time, and a WebSocket a proxy's.
var wayCosts = map[signaling.RelayWay]time.Duration{
	signaling.RelayTCP: 0, signaling.RelayTLS: 50 * time.Millisecond, signaling.RelayWebSocket: 150 * time.Millisecond,
}

// oneWay names, in the environment, the one of the ways that is used: for tests and
// benchmarks, which each look at one.
const oneWay = "P2PTUN_RELAY_OVER"

// hubWays are the ways to a hub's relay but UDP.
type hubWays struct {
	hub     config.Hub
	streams []*peer.Stream
}

// waysTo are those to the hub, the same at each call for one hub.
func (n *Node) waysTo(hub config.Hub) []*peer.Stream {
	if n.ways.streams != nil && n.ways.hub.Equal(hub) {
		return n.ways.streams
	}
	n.ways = hubWays{hub: hub}
	ways := signaling.RelayWays
	if one := signaling.RelayWay(os.Getenv(oneWay)); one != "" {
		ways = []signaling.RelayWay{one}
	}
	for _, way := range ways {
		for _, u := range hub.URLs {
			if name := way.RelayURL(u); name != "" { // by whichever of its addresses, so one is enough
				n.ways.streams = append(n.ways.streams, &peer.Stream{URL: name, Cost: wayCosts[way], Dial: func(ctx context.Context) (net.Conn, error) {
					return way.Dial(ctx, n.dial, hub)
				}})
				break
			}
		}
	}
	return n.ways.streams
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
		s := RelayStatus{Server: r.Server, RTT: Milliseconds(r.RTT), Held: r.Held}
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

// Milliseconds is a time as status has it: nil for what is not known.
func Milliseconds(d time.Duration) *float64 {
	if d <= 0 {
		return nil
	}
	ms := float64(d.Microseconds()) / 1000
	return &ms
}
