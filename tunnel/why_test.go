package tunnel

import (
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/peer"
)

// TestWhy: one true sentence for each way to stand.
func TestWhy(t *testing.T) {
	now := time.Date(2030, 1, 2, 15, 4, 5, 0, time.Local)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	in := func(d time.Duration) time.Time { return now.Add(d) }
	const symmetric, steady = peer.MappingAddressAndPortDependent, peer.MappingEndpointIndependent
	relayed := func(change func(*standing)) standing {
		s := standing{state: peer.Connected, path: peer.PathRelayed, online: true, hub: true, heard: ago(time.Second),
			ice: peer.Snapshot{State: peer.Connected, Path: peer.PathRelayed, Relayed: ago(70 * time.Second), Next: in(25 * time.Second)}}
		change(&s)
		return s
	}
	for _, tt := range []struct {
		s    standing
		want string
	}{
		{standing{state: peer.Connected, path: peer.PathDirect, online: true, hub: true}, ""},
		{standing{state: peer.Connected, path: peer.PathDirect}, ""},

		{relayed(func(*standing) {}), "relayed: no direct check has been answered in 1m10s; trying again in 25 s"},
		{relayed(func(s *standing) { s.ice.Next = time.Time{} }), "relayed: no direct check has been answered in 1m10s"},
		{relayed(func(s *standing) { s.ice.Relayed = time.Time{} }), "relayed: no direct check has been answered"},
		{relayed(func(s *standing) { s.mapping, s.ice.RemoteMapping = symmetric, peer.MappingAddressDependent }), "relayed: both NATs map per destination (symmetric)"},
		{relayed(func(s *standing) { s.mapping, s.ice.RemoteMapping = symmetric, steady }),
			"relayed: this machine's NAT maps per destination (symmetric); no direct check has been answered"},
		{relayed(func(s *standing) { s.mapping, s.ice.RemoteMapping = steady, symmetric }),
			"relayed: box's NAT maps per destination (symmetric); no direct check has been answered"},
		{relayed(func(s *standing) { s.mapping, s.ice.RemoteMapping = steady, steady }),
			"relayed: no direct check has been answered in 1m10s; trying again in 25 s"},
		{relayed(func(s *standing) { s.relayOnly, s.mapping, s.ice.RemoteMapping = true, symmetric, symmetric }), "relayed: --relay-only is set here"},
		{relayed(func(s *standing) { s.blocked, s.ice.RemoteHidden = true, true }), "relayed: UDP is blocked here: neither the hub nor a relay answers over it"},
		{standing{state: peer.Failed, online: true, hub: true, blocked: true}, "UDP is blocked here: neither the hub nor a relay answers over it"},
		{standing{state: peer.Checking, online: true, hub: true, blocked: true}, "UDP is blocked here: neither the hub nor a relay answers over it"},
		{relayed(func(s *standing) { s.ice.RemoteBlocked = true }), "relayed: UDP is blocked at box, as it says"},
		{relayed(func(s *standing) { s.blocked, s.ice.RemoteBlocked = true, true }), "relayed: UDP is blocked here: neither the hub nor a relay answers over it"},
		{standing{state: peer.Checking, online: true, hub: true, ice: peer.Snapshot{RemoteBlocked: true}}, "UDP is blocked at box, as it says"},
		{standing{state: peer.Signaling, online: true, hub: true, ice: peer.Snapshot{RemoteBlocked: true, Offered: ago(12 * time.Second)}},
			"no answer to the offer, which was made 12 s ago"},
		{standing{state: peer.Idle, online: true, hub: true, blocked: true}, "idle: connects with the first packet"},
		{standing{state: peer.Idle, hub: true, blocked: true}, "offline, as the hub says"},
		{relayed(func(s *standing) { s.ice.RemoteHidden = true }), "relayed: box offers no address that can be reached directly: relays alone"},
		{relayed(func(s *standing) { s.ice.Apart, s.mapping = true, symmetric }), "relayed: one of the two has IPv4 alone and the other IPv6 alone"},
		{relayed(func(s *standing) { s.ice.Avoided, s.ice.DirectValid = ago(10*time.Minute), true }),
			"relayed: the direct path answers checks but carries no data; avoided since 14:54"},
		{relayed(func(s *standing) { s.ice.DirectValid, s.mapping = true, symmetric }), "relayed: a direct pair of addresses has just answered"},
		{relayed(func(s *standing) { s.ice.Resting = true }), "relayed: no direct check was answered before the tunnel came to rest"},

		{standing{state: peer.Checking, online: true, hub: true, heard: ago(time.Second), ice: peer.Snapshot{State: peer.Connected, Suspect: true}},
			"data waits, and box has not answered; every known way is being tried"},
		{standing{state: peer.Checking, heard: ago(time.Second), ice: peer.Snapshot{State: peer.Connected, Suspect: true, Unheard: true}},
			"box says that it hears nothing of what is sent; every known way is being tried"},

		{standing{state: peer.Idle}, "not connected to the hub, and no other way known"},
		{standing{state: peer.Idle, online: true}, "not connected to the hub, and no other way known"},
		{standing{state: peer.Idle, way: true}, "idle: connects with the first packet"},
		{standing{state: peer.Idle, hub: true}, "offline, as the hub says"},
		{standing{state: peer.Idle, hub: true, offline: ago(2 * time.Hour)}, "offline since 13:04 as the hub says"},
		{standing{state: peer.Disconnected, hub: true, offline: ago(48 * time.Hour)}, "offline since 2029-12-31 15:04 as the hub says"},
		{standing{state: peer.Idle, online: true, hub: true}, "idle: connects with the first packet"},
		{standing{state: peer.Idle, online: true, hub: true, ice: peer.Snapshot{State: peer.Idle, Next: in(900 * time.Millisecond)}}, "no session yet; one is offered in 1 s"},
		{standing{state: peer.Signaling, online: true, hub: true, ice: peer.Snapshot{State: peer.Signaling, Offered: ago(12 * time.Second)}},
			"no answer to the offer, which was made 12 s ago"},
		{standing{state: peer.Checking, online: true, hub: true, ice: peer.Snapshot{State: peer.Checking}}, "addresses are being checked, none has answered yet"},
		{standing{state: peer.Checking, online: true, hub: true, ice: peer.Snapshot{State: peer.Connected}}, "addresses answer checks; nothing has come through the tunnel yet"},
		{standing{state: peer.Disconnected, heard: ago(50 * time.Second), ice: peer.Snapshot{State: peer.Connected}},
			"addresses answer checks, but nothing has come through the tunnel for 50 s"},
		{standing{state: peer.Disconnected, heard: ago(50 * time.Second), ice: peer.Snapshot{State: peer.Connected, Resting: true, Next: in(time.Second)}},
			"nothing heard for 50 s; trying again in 1 s"},
		{standing{state: peer.Disconnected, online: true, hub: true, heard: ago(50 * time.Second), ice: peer.Snapshot{State: peer.Disconnected, Next: ago(time.Second)}},
			"nothing heard for 50 s; trying again now"},
		{standing{state: peer.Disconnected, online: true, hub: true, ice: peer.Snapshot{State: peer.Disconnected}}, "addresses do not answer checks any more"},
		{standing{state: peer.Failed, online: true, hub: true, ice: peer.Snapshot{State: peer.Failed, Pairs: 6, Checked: 6, Next: in(4200 * time.Millisecond)}},
			"failed: all 6 pairs were checked, none answered; trying again in 5 s"},
		{standing{state: peer.Failed, online: true, hub: true, ice: peer.Snapshot{State: peer.Failed, Pairs: 6, Checked: 5}}, "failed: 5 of 6 pairs were checked, none answered"},
		{standing{state: peer.Failed, online: true, hub: true, ice: peer.Snapshot{State: peer.Failed, Next: in(time.Second)}}, "failed: no session came about; trying again in 1 s"},
	} {
		tt.s.now, tt.s.name = now, "box"
		if got := tt.s.why(); got != tt.want {
			t.Errorf("%+v:\n got %q\nwant %q", tt.s, got, tt.want)
		}
	}
}
