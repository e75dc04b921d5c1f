package main

import (
	"net/netip"
	"strings"
	"time"

	"github.com/p2ptun/p2ptun/peer/behavior"
	"github.com/p2ptun/p2ptun/signaling"
	"github.com/p2ptun/p2ptun/tunnel"
)

// netcheckReport is the form of `netcheck --json`: fields are added, never renamed.
// What is not known is "" or null.
type netcheckReport struct {
	UDP    bool          `json:"udp"`
	IPv4   ipv4Report    `json:"ipv4"`
	IPv6   ipv6Report    `json:"ipv6"`
	Hub    hubReport     `json:"hub"`
	Relays []relayReport `json:"relays"`
}

// ipv4Report is in the words of RFC 4787; classic is RFC 3489's.
type ipv4Report struct {
	Address        string              `json:"address"`
	Mapping        behavior.Dependence `json:"mapping"`
	Filtering      behavior.Dependence `json:"filtering"`
	Hairpin        *bool               `json:"hairpin"`
	PortPreserving *bool               `json:"port_preserving"`
	Allocation     behavior.Allocation `json:"allocation"`
	Classic        behavior.Classic    `json:"classic"`

	Lifetime *lifetimeReport `json:"lifetime,omitempty"` // with --lifetime

	complete bool // the hub has a second address
}

// lifetimeReport says how long an unused mapping is kept, in seconds.
type lifetimeReport struct {
	Alive float64  `json:"alive_s"` // so long it was
	Dead  *float64 `json:"dead_s"`  // and after this no more; null: it outlived the test
}

type ipv6Report struct {
	Address    string              `json:"address"`
	Firewalled *bool               `json:"firewalled"`
	Mapping    behavior.Dependence `json:"mapping"`
	Filtering  behavior.Dependence `json:"filtering"`
}

type hubReport struct {
	URL   string   `json:"url"`
	RTT   *float64 `json:"rtt_ms"` // null: it does not answer
	Error string   `json:"error,omitempty"`

	// Until when the node's credentials for the hub's relays are good; null: no node
	// runs, or it has none.
	Credentials *time.Time `json:"credentials"`
}

type relayReport struct {
	URL       string   `json:"url"`       // RFC 7065, or a WebSocket's
	Transport string   `json:"transport"` // udp, tcp, tls or websocket
	RTT       *float64 `json:"rtt_ms"`
	OK        bool     `json:"ok"`      // it answers, and does not refuse the node
	Address   string   `json:"address"` // of the node's there; "" without an allocation
	Error     string   `json:"error,omitempty"`
}

func newReport(known *tunnel.Surroundings, hub *signaling.HubAnswer, hubErr error, found behavior.Report, relays []tunnel.RelayStatus, rtts map[netip.AddrPort]time.Duration) *netcheckReport {
	r := &netcheckReport{
		UDP: found.IPv4.Answered || found.IPv6.Answered || len(rtts) > 0,
		Hub: hubReport{URL: known.Hub.URLs[0], Credentials: known.Credentials},
	}
	switch {
	case hub != nil:
		r.Hub.URL, r.Hub.RTT = hub.URL, tunnel.Milliseconds(hub.RTT)
	case hubErr != nil:
		r.Hub.Error = strings.ReplaceAll(hubErr.Error(), "\n", "; ")
	}
	four, six := found.IPv4, found.IPv6
	r.IPv4 = ipv4Report{
		Address: addressText(four.Address), Mapping: four.Mapping, Filtering: four.Filtering, Hairpin: four.Hairpin,
		PortPreserving: four.PortPreserving, Allocation: four.Allocation, Classic: four.Classic, complete: four.Complete,
	}
	if r.UDP || hub == nil {
		// No word of one family while the other passes, or of UDP where nothing
		// else passes either: it may be the hub that is not there.
		if four.Classic == behavior.UDPBlocked {
			r.IPv4.Classic = ""
		}
	}
	r.IPv6 = ipv6Report{Address: addressText(six.Address), Firewalled: six.Firewalled(), Mapping: six.Mapping, Filtering: six.Filtering}
	r.Relays = relayReports(relays, rtts)
	return r
}

// relayReports says of each relay whether it answers, and what the node knows of it.
func relayReports(relays []tunnel.RelayStatus, rtts map[netip.AddrPort]time.Duration) []relayReport {
	list := []relayReport{}
	for _, s := range relays {
		at, err := netip.ParseAddrPort(s.Server)
		if err != nil {
			list = append(list, streamReport(s))
			continue
		}
		rtt, answers := rtts[at]
		r := relayReport{
			URL: "turn:" + at.String() + "?transport=udp", Transport: "udp",
			RTT: tunnel.Milliseconds(rtt), OK: answers, Address: s.Address,
		}
		switch {
		case !answers:
			r.Error = "does not answer"
		case s.Error != "" && s.Address == "" && s.RTT != nil: // it has refused
			r.OK, r.Error = false, s.Error
		}
		list = append(list, r)
	}
	return list
}

// streamReport is for a relay that the node reaches otherwise than over UDP: how it
// stands is the node's word.
func streamReport(s tunnel.RelayStatus) relayReport {
	r := relayReport{URL: s.Server, Transport: "tcp", RTT: s.RTT, Address: s.Address, Error: s.Error, OK: s.RTT != nil && s.Error == ""}
	switch {
	case strings.HasPrefix(s.Server, "turns:"):
		r.Transport = "tls"
	case strings.HasPrefix(s.Server, "ws"):
		r.Transport = "websocket"
	}
	if s.RTT == nil && s.Error == "" {
		r.Error = "not tried yet"
	}
	return r
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
