package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer"
	"github.com/p2ptun/p2ptun/tunnel"
)

func runStatus(e env, args []string) error {
	fs := flag.NewFlagSet("status", flag.ContinueOnError)
	var s socketFlags
	s.add(fs)
	asJSON := fs.Bool("json", false, "print JSON")
	watch := fs.Bool("watch", false, "show it anew each second, until interrupted")
	rest, err := parse(fs, args, 1)
	if err != nil {
		return err
	}
	socket, err := s.path()
	if err != nil {
		return err
	}
	show := func() error {
		text, err := statusText(e.ctx, &s, socket, rest, *asJSON)
		if err == nil && *watch && isTerminal(e.stdout) {
			text = clearScreen + text
		}
		if err == nil {
			_, err = io.WriteString(e.stdout, text)
		}
		return err
	}
	if !*watch {
		return show()
	}
	return watchStatus(e.ctx, time.Second, show)
}

// clearScreen has a terminal begin anew at its top.
const clearScreen = "\x1b[H\x1b[2J"

// watchStatus shows again and again until ctx ends, or that fails.
func watchStatus(ctx context.Context, every time.Duration, show func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := show(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// statusText is the answer, for a peer where rest names one.
func statusText(ctx context.Context, s *socketFlags, socket string, rest []string, asJSON bool) (string, error) {
	path := "/status"
	if len(rest) == 1 {
		path += "?" + url.Values{"node": rest}.Encode()
	}
	var status tunnel.Status
	if err := ask(ctx, socket, "GET", path, nil, &status); err != nil {
		return "", s.whyStopped(err)
	}
	if len(rest) == 1 {
		if err := narrow(&status, rest[0]); err != nil {
			return "", err
		}
	}
	var text strings.Builder
	switch {
	case asJSON:
		if err := printJSON(&text, status); err != nil {
			return "", err
		}
	case len(rest) == 1:
		printPeer(&text, status.Peers[0], time.Now())
	default:
		printStatus(&text, status, time.Now())
	}
	return text.String(), nil
}

// whyStopped makes of the error that no node answers one that says that the
// machine was thrown out, where its state is known and says so.
func (s *socketFlags) whyStopped(err error) error {
	if !errors.Is(err, errNotRunning) || s.socket != "" || s.iface != "" {
		return err
	}
	var out error
	withState("", s.file, false, func(dir *config.Dir, node *config.Node) error {
		if node != nil && node.Joined() {
			out = tunnel.CheckStored(dir, node)
		}
		return nil
	})
	return cmp.Or(out, err)
}

// narrow leaves the peer of that name alone.
func narrow(s *tunnel.Status, name string) error {
	i := slices.IndexFunc(s.Peers, func(p tunnel.PeerStatus) bool { return p.Name == name })
	switch {
	case i >= 0:
		s.Peers = s.Peers[i : i+1]
		return nil
	case name == s.Self.Name:
		return fmt.Errorf("%s is this machine, not a peer: `p2ptun status` without a name shows it", name)
	}
	return config.WithHint(fmt.Errorf("no peer has the name %q", name), "`p2ptun nodes` lists the members")
}

func printStatus(w io.Writer, s tunnel.Status, now time.Time) {
	if s.Self.State == "joining" {
		fmt.Fprintf(w, "%s is joining the network %s and waits to be admitted\n", s.Self.Name, networkText(s.Network))
		printHub(w, s.Hub)
		return
	}
	if s.Self.State == "expired" {
		fmt.Fprintf(w, "%s in %s: the membership ended at %s; an admin can extend it with `p2ptun network extend %s`\n",
			s.Self.Name, networkText(s.Network), endText(s.Self.Expires), s.Self.Name)
		printHub(w, s.Hub)
		return
	}
	fmt.Fprintf(w, "%s in %s: %s on %s\n", s.Self.Name, networkText(s.Network), s.Self.State, s.Self.Interface)
	if len(s.Self.Addresses) > 0 {
		fmt.Fprintf(w, "addresses: %s\n", joinAddrs(s.Self.Addresses))
	}
	if s.Self.Expires != nil {
		fmt.Fprintf(w, "member until: %s\n", endText(s.Self.Expires))
	}
	printHub(w, s.Hub)
	printNAT(w, s.Self)
	printRelays(w, s.Self.Relays)
	if s.Self.GSO.Why != "" {
		fmt.Fprintf(w, "packets pass the kernel one by one (GSO is off): %s\n", s.Self.GSO.Why)
	}
	fmt.Fprintln(w)
	if len(s.Peers) == 0 {
		fmt.Fprintln(w, "no other members; `p2ptun invite` prints what another machine needs to join")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tADDRESS\tSTATE\tPATH\tAT\tRTT\tRX / TX\tHANDSHAKE")
	for _, p := range s.Peers {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s / %s\t%s\n", p.Name, firstAddr(p.Addresses), stateText(p),
			p.Path, orDash(p.Remote.Address), rttText(p.RTT), byteText(p.RxBytes), byteText(p.TxBytes), ageText(p.LastHandshake, now))
	}
	t.Flush()
	for _, p := range s.Peers {
		if p.Why != "" {
			fmt.Fprintf(w, "%s: %s\n", p.Name, p.Why)
		}
	}
}

func printHub(w io.Writer, h tunnel.HubStatus) {
	switch {
	case h.Connected:
		fmt.Fprintf(w, "hub: connected to %s\n", h.URL)
	case strings.Contains(h.Error, h.URL):
		fmt.Fprintf(w, "hub: not connected: %s\n", h.Error)
	case h.Error != "":
		fmt.Fprintf(w, "hub: not connected to %s: %s\n", h.URL, h.Error)
	default:
		fmt.Fprintf(w, "hub: connecting to %s\n", h.URL)
	}
}

// printNAT tells what the NAT or firewall before this machine does, where that is
// known.
func printNAT(w io.Writer, self tunnel.SelfStatus) {
	nat := self.NAT
	var text string
	switch {
	case self.UDPBlocked:
		text = "UDP is blocked here; `p2ptun netcheck` says more"
	case nat.Mapping == peer.MappingUnknown:
		return
	case nat.Mapping == peer.MappingNone && nat.Filtering.PerDestination():
		text = "none, but a firewall that lets in who was sent to alone"
	case nat.Mapping == peer.MappingNone:
		text = "none"
	case nat.Mapping.PerDestination():
		text = string(nat.Mapping) + " mapping (symmetric)"
	default:
		text = string(nat.Mapping) + " mapping"
	}
	if nat.Mapping != peer.MappingNone && nat.Filtering != "" && !self.UDPBlocked {
		text += ", " + string(nat.Filtering) + " filtering"
	}
	fmt.Fprintf(w, "NAT: %s\n", text)
}

// printRelays tells the relays that are held, and what is wrong with others. One
// that never answered over IPv6 is none to a machine without IPv6.
func printRelays(w io.Writer, relays []tunnel.RelayStatus) {
	var texts []string
	for _, r := range relays {
		switch {
		case r.RTT == nil && strings.HasPrefix(r.Server, "["):
		case r.Error != "":
			texts = append(texts, fmt.Sprintf("%s (%s)", r.Server, r.Error))
		case r.Held:
			texts = append(texts, fmt.Sprintf("%s (%s)", r.Server, rttText(r.RTT)))
		}
	}
	if len(texts) > 0 {
		fmt.Fprintf(w, "relays: %s\n", strings.Join(texts, ", "))
	}
}

// stateText is the peer's state; a peer that is not there has none.
func stateText(p tunnel.PeerStatus) string {
	if !p.Online && p.State != peer.Connected {
		return "offline"
	}
	return string(p.State)
}
