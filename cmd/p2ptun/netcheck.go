package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/internal/nat64"
	"github.com/p2ptun/p2ptun/peer/behavior"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
)

// netcheckOptions are what `netcheck` was told.
type netcheckOptions struct {
	socketFlags
	state    string
	hub      string // link, or where it is read
	json     bool
	lifetime bool
}

func parseNetcheck(args []string) (*netcheckOptions, error) {
	o := new(netcheckOptions)
	fs := flag.NewFlagSet("netcheck", flag.ContinueOnError)
	o.add(fs)
	fs.StringVar(&o.state, "state", "", "state directory `DIR` of a node that does not run (default "+config.DefaultState+")")
	fs.StringVar(&o.hub, "hub", "", "test with the hub of this `LINK`, or - for stdin, or @FILE")
	fs.BoolVar(&o.json, "json", false, "print JSON")
	fs.BoolVar(&o.lifetime, "lifetime", false, "find out as well how long the NAT keeps a mapping that is not used, in up to five minutes")
	_, err := parse(fs, args, 0)
	return o, err
}

func runNetcheck(e env, args []string) error {
	o, err := parseNetcheck(args)
	if err != nil {
		return err
	}
	known, err := o.surroundings(e)
	if err != nil {
		return err
	}
	p := &progress{w: e.stderr, terminal: isTerminal(e.stderr)}
	defer p.stop()
	c := &netcheck{known: known, progress: p}
	report, err := c.run(e.ctx)
	if err != nil {
		return err
	}
	if o.lifetime {
		if err := c.lifetime(e.ctx, report); err != nil {
			return err
		}
	}
	p.stop()
	if o.json {
		return printJSON(e.stdout, report)
	}
	printNetcheck(e.stdout, report)
	return nil
}

// surroundings finds out whom to test with: from the link, from the node that runs,
// or from what it has stored.
func (o *netcheckOptions) surroundings(e env) (*tunnel.Surroundings, error) {
	if o.hub != "" {
		token, err := secretArg(e, o.hub)
		if err != nil {
			return nil, err
		}
		link, err := config.ParseHubLink(token)
		return &tunnel.Surroundings{Hub: link.Hub}, err
	}
	socket, err := o.path()
	if err != nil {
		return nil, err
	}
	s := new(tunnel.Surroundings)
	err = ask(e.ctx, socket, "GET", "/surroundings", nil, s)
	if !errors.Is(err, errNotRunning) {
		return s, err
	}
	err = withState(o.state, o.file, false, func(_ *config.Dir, node *config.Node) error {
		if node == nil {
			return config.WithHint(errors.New("this machine is in no network yet, so there is no hub to test with"), "name one with --hub LINK; `p2ptun hub link` on its server prints it")
		}
		s.Hub = node.Hub
		return nil
	})
	return s, err
}

// netcheck is one run of the tests.
type netcheck struct {
	known    *tunnel.Surroundings
	progress *progress
	nat64    nat64.Way
	first    netip.AddrPort // the server of the tests
}

// netcheckFor bounds all tests but that of lifetimes; askHubFor the wait for a hub
// that TCP does not get through to.
const (
	netcheckFor = 10 * time.Second
	askHubFor   = 2500 * time.Millisecond
)

// run does all tests but that of lifetimes.
func (c *netcheck) run(ctx context.Context) (*netcheckReport, error) {
	ctx, cancel := context.WithTimeout(ctx, netcheckFor)
	defer cancel()
	c.progress.say("asking the hub at %s", c.known.Hub.URLs[0])
	var hub *signaling.HubAnswer
	var hubErr error
	var asking sync.WaitGroup
	told := make(chan struct{})
	asking.Go(func() {
		defer close(told)
		ctx, cancel := context.WithTimeout(ctx, askHubFor)
		defer cancel()
		hub, hubErr = signaling.AskSTUN(ctx, c.dial, c.known.Hub)
	})
	var streams []tunnel.RelayStatus
	asking.Go(func() { streams = c.streams(ctx) })
	servers := c.known.STUN
	relays := c.relays(servers)
	if len(servers) == 0 {
		<-told
		switch {
		case hubErr == nil:
			servers = slices.Concat(hub.Servers, hub.STUN)
			relays = c.relays(hub.Servers)
		default: // UDP may pass where TCP does not
			servers = likelyServers(ctx, c.known.Hub.URLs)
			relays = c.relays(servers)
		}
	}
	c.progress.say("testing UDP with %s", joinPorts(servers))
	var found behavior.Report
	var rtts map[netip.AddrPort]time.Duration
	var err error
	asking.Go(func() { rtts = behavior.Ping(ctx, behavior.Config{}, relayServers(relays)) })
	asking.Go(func() { found, err = behavior.Discover(ctx, behavior.Config{Servers: servers}) })
	asking.Wait()
	if err != nil {
		return nil, fmt.Errorf("netcheck: %w", err)
	}
	if i := slices.IndexFunc(servers, func(a netip.AddrPort) bool { return a.Addr().Is4() }); i >= 0 {
		c.first = servers[i]
	}
	return newReport(c.known, hub, hubErr, found, append(relays, streams...), rtts), nil
}

// relays are those over UDP, and others than the hub's, that the node knows, or the
// servers.
func (c *netcheck) relays(servers []netip.AddrPort) []tunnel.RelayStatus {
	if known := slices.DeleteFunc(slices.Clone(c.known.Relays), c.isWay); len(known) > 0 {
		return known
	}
	var list []tunnel.RelayStatus
	for _, s := range servers {
		list = append(list, tunnel.RelayStatus{Server: s.String()})
	}
	return list
}

func relayServers(relays []tunnel.RelayStatus) (servers []netip.AddrPort) {
	for _, r := range relays {
		if a, err := netip.ParseAddrPort(r.Server); err == nil {
			servers = append(servers, a)
		}
	}
	return servers
}

// The ports that a hub has for STUN unless told otherwise.
const likelyPort, likelySecond = 3478, 3479

// likelyServers are where a hub that does not say answers Binding requests.
func likelyServers(ctx context.Context, urls []string) (servers []netip.AddrPort) {
	for _, port := range []uint16{likelyPort, likelySecond} {
		for _, s := range urls {
			u, err := url.Parse(s)
			if err != nil {
				continue
			}
			addrs, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname()) // an address stands for itself
			for _, a := range addrs {
				if at := netip.AddrPortFrom(a.Unmap(), port); !slices.Contains(servers, at) {
					servers = append(servers, at)
				}
			}
		}
	}
	return servers
}

func joinPorts(addrs []netip.AddrPort) string {
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	return strings.Join(s, ", ")
}

// lifetime adds how long the NAT keeps a mapping.
func (c *netcheck) lifetime(ctx context.Context, r *netcheckReport) error {
	if !c.first.IsValid() || r.IPv4.Address == "" {
		return errors.New("netcheck --lifetime: no STUN server answers over IPv4")
	}
	c.progress.keep("waiting to see how long the NAT keeps a mapping that is not used")
	span, err := behavior.Lifetime(ctx, behavior.Config{}, c.first, behavior.Ages(), func(s behavior.Span) {
		c.progress.keep("after %v it is still there", s.Alive)
	})
	if err != nil {
		return fmt.Errorf("netcheck --lifetime: %w", err)
	}
	r.IPv4.Lifetime = &lifetimeReport{Alive: span.Alive.Seconds()}
	if span.Dead > 0 {
		dead := span.Dead.Seconds()
		r.IPv4.Lifetime.Dead = &dead
	}
	return nil
}
