package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/peer/behavior"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
)

var (
	checkedHub = config.Hub{URLs: []string{"wss://192.0.2.1:443"}}
	hubAnswer  = &signaling.HubAnswer{URL: "wss://192.0.2.1:443", RTT: 12_300 * time.Microsecond}
	relay4     = netip.MustParseAddrPort("192.0.2.1:3478")
	relay6     = netip.MustParseAddrPort("[2001:db8::1]:3478")
)

// behindNAT is a result of IPv4.
func behindNAT(mapping, filtering behavior.Dependence, classic behavior.Classic) behavior.Result {
	no := false
	return behavior.Result{Sent: true, Answered: true, Address: netip.MustParseAddr("203.0.113.7"), Mapping: mapping, Filtering: filtering,
		Classic: classic, Hairpin: &no, PortPreserving: &no, Allocation: behavior.Random, Complete: true}
}

// TestNetcheckJSON pins the form: fields are added, never renamed.
func TestNetcheckJSON(t *testing.T) {
	end := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	known := &tunnel.Surroundings{Hub: checkedHub, Credentials: &end}
	yes := true
	rtt := 7.5
	found := behavior.Report{
		IPv4: behindNAT(behavior.EndpointIndependent, behavior.AddressAndPortDependent, behavior.PortRestrictedCone),
		IPv6: behavior.Result{Sent: true, Answered: true, Address: netip.MustParseAddr("2001:db8::7"), Mapping: behavior.None, Filtering: behavior.AddressAndPortDependent},
	}
	found.IPv4.Hairpin = &yes
	relays := []tunnel.RelayStatus{
		{Server: relay4.String(), Address: "192.0.2.1:50000"}, {Server: relay6.String()},
		{Server: "198.51.100.1:3478", RTT: &rtt, Error: "401"},
		{Server: "turn:192.0.2.1:443?transport=tcp", RTT: &rtt}, {Server: "turns:192.0.2.1:443?transport=tcp", RTT: &rtt, Error: "does not answer"},
		{Server: "wss://192.0.2.1:443/v1/relay"},
	}
	rtts := map[netip.AddrPort]time.Duration{relay4: 12 * time.Millisecond, netip.MustParseAddrPort("198.51.100.1:3478"): 8 * time.Millisecond}
	for _, tt := range []struct {
		name string
		r    *netcheckReport
		want string
	}{
		{"all known", newReport(known, hubAnswer, nil, found, relays, rtts), `{"udp":true,
			"ipv4":{"address":"203.0.113.7","mapping":"endpoint-independent","filtering":"address-and-port-dependent","hairpin":true,"port_preserving":false,"allocation":"random","classic":"port-restricted-cone"},
			"ipv6":{"address":"2001:db8::7","firewalled":true,"mapping":"none","filtering":"address-and-port-dependent"},
			"hub":{"url":"wss://192.0.2.1:443","rtt_ms":12.3,"credentials":"2030-01-02T03:04:05Z"},
			"relays":[{"url":"turn:192.0.2.1:3478?transport=udp","transport":"udp","rtt_ms":12,"ok":true,"address":"192.0.2.1:50000"},
				{"url":"turn:[2001:db8::1]:3478?transport=udp","transport":"udp","rtt_ms":null,"ok":false,"address":"","error":"does not answer"},
				{"url":"turn:198.51.100.1:3478?transport=udp","transport":"udp","rtt_ms":8,"ok":false,"address":"","error":"401"},
				{"url":"turn:192.0.2.1:443?transport=tcp","transport":"tcp","rtt_ms":7.5,"ok":true,"address":""},
				{"url":"turns:192.0.2.1:443?transport=tcp","transport":"tls","rtt_ms":7.5,"ok":false,"address":"","error":"does not answer"},
				{"url":"wss://192.0.2.1:443/v1/relay","transport":"websocket","rtt_ms":null,"ok":false,"address":"","error":"not tried yet"}]}`},
		{"nothing known", newReport(&tunnel.Surroundings{Hub: checkedHub}, nil, errors.New("no\nway"), behavior.Report{}, nil, nil), `{"udp":false,
			"ipv4":{"address":"","mapping":"","filtering":"","hairpin":null,"port_preserving":null,"allocation":"","classic":""},
			"ipv6":{"address":"","firewalled":null,"mapping":"","filtering":""},
			"hub":{"url":"wss://192.0.2.1:443","rtt_ms":null,"error":"no; way","credentials":null},"relays":[]}`},
	} {
		var got, want bytes.Buffer
		b, err := json.Marshal(tt.r)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(b)
		if err := json.Compact(&want, []byte(tt.want)); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, &got, &want)
		}
	}
}

// TestBlockedOrAway: UDP is called blocked only where the hub answers otherwise, and
// nothing comes back of either family.
func TestBlockedOrAway(t *testing.T) {
	silent := behavior.Result{Sent: true, Classic: behavior.UDPBlocked}
	six := behavior.Result{Sent: true, Answered: true}
	known := &tunnel.Surroundings{Hub: checkedHub}
	for _, tt := range []struct {
		name  string
		hub   *signaling.HubAnswer
		found behavior.Report
		rtts  map[netip.AddrPort]time.Duration
		want  behavior.Classic
	}{
		{"the hub answers", hubAnswer, behavior.Report{IPv4: silent}, nil, behavior.UDPBlocked},
		{"the hub does not", nil, behavior.Report{IPv4: silent}, nil, ""},
		{"IPv6 passes", hubAnswer, behavior.Report{IPv4: silent, IPv6: six}, nil, ""},
		{"a relay answers", hubAnswer, behavior.Report{IPv4: silent}, map[netip.AddrPort]time.Duration{relay4: 1}, ""},
	} {
		if r := newReport(known, tt.hub, nil, tt.found, nil, tt.rtts); r.IPv4.Classic != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, r.IPv4.Classic, tt.want)
		}
	}
}

// TestPrintNetcheck: what a person is told.
func TestPrintNetcheck(t *testing.T) {
	const head = "hub:            wss://192.0.2.1:443 answers after 12.3 ms\n"
	relays := []tunnel.RelayStatus{{Server: relay4.String()}}
	rtts := map[netip.AddrPort]time.Duration{relay4: 12 * time.Millisecond}
	incomplete := behindNAT(behavior.EndpointIndependent, "", "")
	incomplete.Complete = false
	for _, tt := range []struct {
		name string
		four behavior.Result
		want string
	}{
		{"symmetric", behindNAT(behavior.AddressAndPortDependent, behavior.AddressAndPortDependent, behavior.Symmetric), head + `UDP:            gets through
IPv4:           203.0.113.7, behind a NAT of the kind symmetric
  mapping:      address-and-port-dependent: another port outside for each destination
  ports:        at random
  hairpinning:  no
  filtering:    address-and-port-dependent: only who was sent to gets in
IPv6:           none that works
relay:          turn:192.0.2.1:3478?transport=udp answers after 12.0 ms

Direct only with peers that are public, or behind full-cone or address-restricted NATs; all others go over a relay.
` + openPort + "\n"},
		{"one address", incomplete, head + `UDP:            gets through
IPv4:           203.0.113.7, behind a NAT
  mapping:      endpoint-independent: one port outside for all destinations
  ports:        at random
  hairpinning:  no
  filtering:    not known: it takes a hub with a second address (` + "`p2ptun hub --alt-addr`" + `)
IPv6:           none that works
relay:          turn:192.0.2.1:3478?transport=udp answers after 12.0 ms

Direct with most peers; whether also with those behind symmetric NATs depends on the filtering.
`},
		{"open", behindNAT(behavior.None, behavior.None, behavior.OpenInternet), strings.ReplaceAll(head, "hub:            ", "hub:          ") + `UDP:          gets through
IPv4:         203.0.113.7, no NAT and no firewall
  filtering:  none: everybody gets in
IPv6:         none that works
relay:        turn:192.0.2.1:3478?transport=udp answers after 12.0 ms

Every peer reaches this machine directly.
`},
		{"blocked", behavior.Result{Sent: true, Classic: behavior.UDPBlocked}, `hub:    wss://192.0.2.1:443 answers after 12.3 ms
UDP:    is blocked here: the hub answers over TCP, and nothing comes back over UDP
IPv4:   no answer
IPv6:   none that works
relay:  turn:192.0.2.1:3478?transport=udp does not answer

Nothing is direct here: all goes over relays, and these are reached over TCP alone.
Have the network's firewall let UDP out, at least to the hub's port 3478, and the hub's firewall let it in.
`},
	} {
		answers := rtts
		if !tt.four.Answered {
			answers = nil
		}
		var b strings.Builder
		printNetcheck(&b, newReport(&tunnel.Surroundings{Hub: checkedHub}, hubAnswer, nil, behavior.Report{IPv4: tt.four}, relays, answers))
		if b.String() != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, &b, tt.want)
		}
	}
}

// TestAdvice: each kind of NAT has its advice, and a machine without a relay hears of
// that.
func TestAdvice(t *testing.T) {
	const ei, ad, apd = behavior.EndpointIndependent, behavior.AddressDependent, behavior.AddressAndPortDependent
	for _, tt := range []struct {
		four behavior.Result
		want string
	}{
		{behindNAT(ei, ei, behavior.FullCone), "Direct with all peers, also"},
		{behindNAT(ei, ad, behavior.RestrictedCone), "Direct with all peers, also"},
		{behindNAT(ei, apd, behavior.PortRestrictedCone), "Direct with all peers but"},
		{behindNAT(ad, ei, behavior.Symmetric), "Direct only with"},
		{behindNAT(behavior.None, apd, behavior.SymmetricFirewall), "Direct with all peers but"},
		{behindNAT(behavior.None, "", ""), "Direct with most peers; a firewall"},
	} {
		lines := advice(newReport(&tunnel.Surroundings{Hub: checkedHub}, hubAnswer, nil, behavior.Report{IPv4: tt.four}, nil, nil))
		if !strings.HasPrefix(lines[0], tt.want) || lines[len(lines)-1] != noRelay {
			t.Errorf("%s: %q", tt.four.Classic, lines)
		}
	}
	away := advice(newReport(&tunnel.Surroundings{Hub: checkedHub}, nil, errors.New("no answer"), behavior.Report{}, nil, nil))
	if len(away) != 1 || !strings.HasPrefix(away[0], "Neither the hub nor") {
		t.Errorf("nobody answers: %q", away)
	}
}

// TestNetcheckAsksNode: a node that runs is asked whom to test with.
func TestNetcheckAsksNode(t *testing.T) {
	want := &tunnel.Surroundings{Hub: config.Hub{URLs: []string{"wss://192.0.2.1:443"}, Key: config.NewHubKey().Public()}, STUN: []netip.AddrPort{relay4}, Relays: []tunnel.RelayStatus{{Server: relay4.String()}}}
	s := serve(t, &fakeNode{around: want})
	o := &netcheckOptions{socketFlags: socketFlags{socket: s.socket}}
	got, err := o.surroundings(env{ctx: t.Context()})
	if err != nil || !got.Hub.Equal(want.Hub) || len(got.STUN) != 1 || got.STUN[0] != relay4 || len(got.Relays) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestProgress: a person is told of what takes longer than an instant, and a program
// of nothing but what takes minutes.
func TestProgress(t *testing.T) {
	for terminal, want := range map[bool]string{true: "second\nthird\n", false: "third\n"} {
		synctest.Test(t, func(t *testing.T) {
			var b strings.Builder
			p := &progress{w: &b, terminal: terminal}
			p.say("first")
			time.Sleep(instant / 2)
			p.say("second")
			time.Sleep(2 * instant)
			p.keep("third")
			p.say("fourth")
			p.stop()
			time.Sleep(2 * instant)
			p.keep("fifth")
			if b.String() != want {
				t.Errorf("terminal %v: %q, want %q", terminal, b.String(), want)
			}
		})
	}
}
