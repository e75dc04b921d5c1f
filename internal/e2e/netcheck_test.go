package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// netcheckReport is what `netcheck --json` says.
type netcheckReport struct {
	UDP  bool
	IPv4 struct {
		Address, Mapping, Filtering, Allocation, Classic string

		Hairpin        *bool
		PortPreserving *bool `json:"port_preserving"`
		Lifetime       *struct {
			Alive float64  `json:"alive_s"`
			Dead  *float64 `json:"dead_s"`
		}
	}
	IPv6 struct {
		Address    string
		Firewalled *bool
	}
	Hub struct {
		URL         string
		RTT         *float64 `json:"rtt_ms"`
		Credentials *time.Time
	}
	Relays []struct {
		URL, Transport, Address, Error string

		RTT *float64 `json:"rtt_ms"`
		OK  bool
	}
}

// netcheck runs the command on a host, with or without a node there.
func (s *setup) netcheck(n *Node, args ...string) (r netcheckReport) {
	s.t.Helper()
	began := time.Now()
	out, err := n.Run(s.ctx, append([]string{"netcheck", "--json"}, args...)...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &r)
	}
	if err != nil {
		s.t.Errorf("%s: %v: %s", n.Name, err, out)
	}
	s.t.Logf("%s: %v: %s", n.Name, time.Since(began).Round(time.Millisecond), strings.Join(strings.Fields(out), ""))
	return r
}

// netcheckEach runs it on all of them at the same time.
func (s *setup) netcheckEach(nodes []*Node, args ...string) []netcheckReport {
	reports := make([]netcheckReport, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { reports[i] = s.netcheck(n, args...) })
	}
	all.Wait()
	return reports
}

// newNetcheckSetup has a hub with a second address, or with one.
func newNetcheckSetup(t *testing.T, second bool, args ...string) *setup {
	t.Helper()
	requireLab(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	dir := t.TempDir()
	lab, err := natlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	s := &setup{t: t, ctx: ctx, rig: &Rig{Lab: lab, Bin: binary(t), Dir: dir, LogLevel: "debug"}}
	s.rig.Output = func(process, line string) { t.Logf("%s: %s", process, line) }
	s.hubHost = natlab.Must(lab.PublicHost("hub"))
	if second {
		args = append(args, "--alt-addr", natlab.Must(s.hubHost.AddAddr()).String())
	}
	if s.hub, err = s.rig.StartHub(ctx, s.hubHost, args...); err != nil {
		t.Fatal(err)
	}
	return s
}

// netcheckCases are the places of the lab, and what there is to find out: mapping,
// filtering, classic name, allocation, hairpinning. With a hub of one address some of
// it cannot be known.
var netcheckCases = []struct {
	place                                    string
	mapping, filtering, classic, ports, loop string
	one                                      [2]string // filtering, classic
}{
	{"public", "none", "none", "open", "preserving", "null", [2]string{"", ""}},
	{"full", "endpoint-independent", "endpoint-independent", "full-cone", "preserving", "false", [2]string{"", ""}},
	{"full-hairpin", "endpoint-independent", "endpoint-independent", "full-cone", "preserving", "true", [2]string{"", ""}},
	{"address", "endpoint-independent", "address-dependent", "restricted-cone", "preserving", "false", [2]string{"", ""}},
	{"port", "endpoint-independent", "address-and-port-dependent", "port-restricted-cone", "preserving", "false",
		[2]string{"address-and-port-dependent", "port-restricted-cone"}},
	{"port-hairpin", "endpoint-independent", "address-and-port-dependent", "port-restricted-cone", "preserving", "true",
		[2]string{"address-and-port-dependent", "port-restricted-cone"}},
	{"symmetric", "address-and-port-dependent", "address-and-port-dependent", "symmetric", "random", "null",
		[2]string{"address-and-port-dependent", "symmetric"}},
	{"symmetric-sequential", "address-and-port-dependent", "address-and-port-dependent", "symmetric", "sequential", "null",
		[2]string{"address-and-port-dependent", "symmetric"}},
	{"by-address", "address-dependent", "endpoint-independent", "symmetric", "random", "null", [2]string{"", ""}},
	{"no-udp", "", "", "udp-blocked", "", "null", [2]string{"", "udp-blocked"}},
	{"cgnat-port", "endpoint-independent", "address-and-port-dependent", "port-restricted-cone", "preserving", "false",
		[2]string{"address-and-port-dependent", "port-restricted-cone"}},
	{"cgnat-symmetric", "address-and-port-dependent", "address-and-port-dependent", "symmetric", "random", "null",
		[2]string{"address-and-port-dependent", "symmetric"}},
}

// checkPlace makes a host in one of these places.
func (s *setup) checkPlace(kind string) *natlab.Host {
	lab, behavior := s.rig.Lab, natlab.Behavior{}
	switch base, hairpin := strings.CutSuffix(kind, "-hairpin"); {
	case hairpin:
		behavior = natlab.Must(natlab.Parse(base))
		behavior.Hairpin = true
	case kind == "no-udp":
		behavior.Firewall = natlab.NoUDP
	case kind == "by-address":
		behavior = natlab.Behavior{Mapping: natlab.AddressDependent, Ports: natlab.Random}
	default:
		return s.place(kind, kind)
	}
	return natlab.Must(natlab.Must(lab.NAT(kind+"-home", behavior)).Host(kind))
}

// TestNetcheck: netcheck names each NAT of the lab rightly, without a node, with a
// hub that has two addresses, and says no more than can be known with one.
func TestNetcheck(t *testing.T) {
	for _, second := range []bool{true, false} {
		t.Run(fmt.Sprintf("second address %v", second), func(t *testing.T) {
			s := newNetcheckSetup(t, second)
			var nodes []*Node
			for _, c := range netcheckCases {
				nodes = append(nodes, s.rig.Node(s.checkPlace(c.place)))
			}
			for i, r := range s.netcheckEach(nodes, "--hub", s.hub.Link) {
				c := netcheckCases[i]
				if !second {
					c.filtering, c.classic = c.one[0], c.one[1]
				}
				if !second && c.place == "by-address" { // two ports of one address do not show it
					c.mapping, c.loop = "endpoint-independent", "false"
				}
				s.checkNetcheck(c.place, r, c.place != "no-udp")
				preserving := fmt.Sprint(c.ports == "preserving")
				if c.ports == "" {
					preserving = "null"
				}
				four := r.IPv4
				got := []string{four.Mapping, four.Filtering, four.Classic, four.Allocation, known(four.Hairpin), known(four.PortPreserving)}
				if want := []string{c.mapping, c.filtering, c.classic, c.ports, c.loop, preserving}; !slices.Equal(got, want) {
					t.Errorf("%s: got %q\nwant %q", c.place, got, want)
				}
			}
		})
	}
}

// checkNetcheck looks at what does not depend on the kind of NAT.
func (s *setup) checkNetcheck(name string, r netcheckReport, udp bool) {
	s.t.Helper()
	if r.UDP != udp || (r.IPv4.Address != "") != udp || r.Hub.RTT == nil || !strings.HasPrefix(r.Hub.URL, "wss://"+s.hubHost.Addr().String()) {
		s.t.Errorf("%s: UDP %v, address %q, hub %+v", name, r.UDP, r.IPv4.Address, r.Hub)
	}
	hub := s.hubHost.Addr()
	for i, want := range []struct {
		url, transport string
		ok             bool
	}{
		{fmt.Sprintf("turn:%v:3478?transport=udp", hub), "udp", udp},
		{fmt.Sprintf("turn:%v:443?transport=tcp", hub), "tcp", true},
		{fmt.Sprintf("turns:%v:443?transport=tcp", hub), "tls", true},
		{fmt.Sprintf("wss://%v:443/v1/relay", hub), "websocket", true},
	} {
		if len(r.Relays) != 4 || r.Relays[i].URL != want.url || r.Relays[i].Transport != want.transport || r.Relays[i].OK != want.ok || (r.Relays[i].RTT != nil) != want.ok {
			s.t.Fatalf("%s: relays %+v, want the %dth to be %+v", name, r.Relays, i, want)
		}
	}
	if r.IPv6.Address != "" || r.IPv6.Firewalled != nil {
		s.t.Errorf("%s: IPv6 %+v", name, r.IPv6)
	}
}

func known(b *bool) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprint(*b)
}
