package main

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer/behavior"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
)

// dial opens the connections to the hub, through a NAT64 where there is no IPv4.
func (c *netcheck) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return c.nat64.DialContext(ctx, new(net.Dialer), network, addr)
}

// streams tries the ways to the hub's relay that need no UDP, all at once.
func (c *netcheck) streams(ctx context.Context) []tunnel.RelayStatus {
	ctx, cancel := context.WithTimeout(ctx, askHubFor)
	defer cancel()
	hub := c.known.Hub
	var ways []signaling.RelayWay
	for _, way := range signaling.RelayWays {
		if way.RelayURL(hub.URLs[0]) != "" {
			ways = append(ways, way)
		}
	}
	found := make([]tunnel.RelayStatus, len(ways))
	var all sync.WaitGroup
	for i, way := range ways {
		found[i] = tunnel.RelayStatus{Server: way.RelayURL(hub.URLs[0])}
		all.Go(func() {
			rtt, err := c.pingWay(ctx, way, hub)
			if found[i].RTT = tunnel.Milliseconds(rtt); err != nil {
				found[i].Error = strings.ReplaceAll(err.Error(), "\n", "; ")
			}
		})
	}
	all.Wait()
	return found
}

func (c *netcheck) pingWay(ctx context.Context, way signaling.RelayWay, hub config.Hub) (time.Duration, error) {
	conn, err := way.Dial(ctx, c.dial, hub)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return behavior.PingStream(ctx, conn)
}

// isWay says whether a relay is the hub's, by a stream: that is tried anew.
func (c *netcheck) isWay(r tunnel.RelayStatus) bool {
	return slices.ContainsFunc(c.known.Hub.URLs, func(u string) bool {
		return slices.ContainsFunc(signaling.RelayWays, func(w signaling.RelayWay) bool { return r.Server == w.RelayURL(u) })
	})
}
