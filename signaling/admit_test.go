package signaling

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestNamesAreMadeUnique(t *testing.T) {
	k := newTestKeeper(t)
	i := k.invite(t, InviteOptions{Uses: 10})
	long := strings.Repeat("x", 63)
	for _, c := range []struct{ wanted, got string }{
		{"keeper", "keeper-2"},
		{"pc", "pc"},
		{"pc", "pc-2"},
		{"pc-2", "pc-2-2"},
		{"pc", "pc-3"},
		{long, long},
		{long, strings.Repeat("x", 61) + "-2"},
	} {
		if got := k.joiner(i, c.wanted).join(t, k).Name; got != c.got {
			t.Errorf("wanted %s: got %s, want %s", c.wanted, got, c.got)
		}
	}
	// A name that was given away counts before the machine is a member.
	k.joiner(i, "tv").ask(t, k, testTime)
	if got := k.joiner(i, "tv").join(t, k).Name; got != "tv-2" {
		t.Errorf("beside an admission: got %s, want tv-2", got)
	}
}

func TestAddresses(t *testing.T) {
	k := newTestKeeper(t)
	k.cfg.Prefix = netip.MustParsePrefix("10.77.0.0/29") // six hosts
	merge(t, k.cfg.Roster, sign(t, root, member(3)))
	i := k.invite(t, InviteOptions{Uses: 10})
	var got []string
	for range 4 {
		j := k.joiner(i, "pc")
		got = append(got, j.take(t, j.ask(t, k, testTime)).IPv4.String())
	}
	if want := []string{"10.77.0.2", "10.77.0.4", "10.77.0.5", "10.77.0.6"}; !slices.Equal(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
	before := len(k.invites[0].Admitted)
	if a := k.joiner(i, "pc").ask(t, k, testTime); a.Refusal != CodeLimit {
		t.Errorf("a full network: %q, want %q", a.Refusal, CodeLimit)
	}
	if len(k.invites[0].Admitted) != before {
		t.Error("a use was counted for nothing")
	}
}

func TestFreeAddress(t *testing.T) {
	for _, c := range []struct{ prefix, want string }{
		{"10.0.0.0/8", "10.0.0.1"}, {"10.77.0.0/30", "10.77.0.1"}, {"10.77.0.0/31", ""}, {"10.77.0.0/32", ""},
		{"255.255.255.252/30", "255.255.255.253"}, {"255.255.255.255/32", ""},
	} {
		got, ok := freeAddress(netip.MustParsePrefix(c.prefix), func(netip.Addr) bool { return false })
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s: %v, %v, want %q", c.prefix, got, ok, c.want)
		}
	}
}

// Who has not heard of a revocation would take another machine at the revoked
// one's address for an impostor.
func TestAddressOfARevokedNode(t *testing.T) {
	k := newTestKeeper(t)
	i := k.invite(t, InviteOptions{Uses: 10})
	gone := k.joiner(i, "pc").join(t, k)
	merge(t, k.cfg.Roster, revoke(t, root, gone.Node))
	next := k.joiner(i, "pc").join(t, k)
	if next.IPv4 == gone.IPv4 || next.Name != "pc" {
		t.Errorf("%v was %v's; the next is %s at %v, want another address and the name pc", gone.IPv4, gone.Node, next.Name, next.IPv4)
	}
}

// Keys that a member has are nobody else's, whatever the proofs.
func TestKeysOfAMember(t *testing.T) {
	k := newTestKeeper(t)
	i := k.invite(t, InviteOptions{Uses: 10})
	member := k.joiner(i, "member")
	member.join(t, k)
	node, wg, sealing := k.joiner(k.invite(t, InviteOptions{}), "x"), k.joiner(i, "x"), k.joiner(i, "x")
	node.self.Node = member.self.Node
	wg.wg = member.wg
	sealing.self.Sealing = member.self.Sealing
	changed := k.joiner(i, "x") // under the same invite, with a new WireGuard key
	changed.self.Node, changed.self.Sealing = member.self.Node, member.self.Sealing
	revoked := k.joiner(i, "x")
	merge(t, k.cfg.Roster, revoke(t, root, revoked.node()))
	for name, j := range map[string]*testJoiner{"node": node, "WireGuard": wg, "sealing": sealing, "changed": changed, "revoked": revoked} {
		if msg, _, err := k.Answer(testTime, j.request(t)); err == nil || msg != nil {
			t.Errorf("%s key: answered, %v", name, err)
		}
	}
}
