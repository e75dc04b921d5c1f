package signaling

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// govern applies what an admin does to the roster it knows.
func govern(t *testing.T, r *Roster) func([][]byte, error) Change {
	return func(list [][]byte, err error) Change {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return merge(t, r, list...)
	}
}

func one(raw []byte, err error) ([][]byte, error) { return [][]byte{raw}, err }

func TestRevokeAMember(t *testing.T) {
	r, node := founded(t), config.NodeKey{11}
	merge(t, r, sign(t, root, member(11)), sign(t, root, member(12)))
	c := govern(t, r)(r.Revoke(delegates[0].Admin, node, false))
	if len(c.Taken) != 1 || len(c.Removed) != 1 || !slices.Equal(c.Revoked, []config.NodeKey{node}) {
		t.Errorf("change %+v", c)
	}
	if _, ok := r.Record(node); ok || !r.IsRevoked(node) || !strings.HasSuffix(members(r), " n12@12") {
		t.Errorf("members %s", members(r))
	}
	newer := member(11)
	newer.Sequence = 9
	if merge(t, r, sign(t, root, newer)); r.members[node] != nil {
		t.Error("a newer record brings it back")
	}
}

func TestRevokeADelegate(t *testing.T) {
	bad, other := delegates[1], delegates[2]
	build := func() *Roster {
		r := founded(t)
		renamed := member(12)
		renamed.Sequence, renamed.Name, renamed.Expires = 7, "extended", testTime.Add(time.Hour)
		merge(t, r,
			sign(t, bad.Admin, member(11)),                         // admitted by it
			sign(t, root, member(12)), sign(t, bad.Admin, renamed), // changed by it
			sign(t, other.Admin, member(13)),                                 // none of its business
			sign(t, root, member(14)), revoke(t, bad.Admin, member(14).Node), // thrown out by it
			sign(t, root, member(15)), revoke(t, bad.Admin, member(15).Node), revoke(t, other.Admin, member(15).Node),
			hubList(t, bad.Admin, 5, 99))
		return r
	}
	admins := "n1@1 n2@2 n4@4 n5@5 "
	if got, want := members(build()), "n1@1 n2@2 n3@3 n4@4 n5@5 n11@11 extended@12:7 n13@13"; got != want {
		t.Fatalf("the test is wrong: %s, want %s", got, want)
	}
	if got := show(build().Admitted(bad.node())); got != "n11@11 extended@12:7" {
		t.Errorf("admitted %s", got)
	}
	for _, c := range []struct {
		drop    bool
		members string
		port    string
	}{
		{false, admins + "n11@11:2 extended@12:8 n13@13", "ws://192.0.2.1:99"},
		{true, admins + "n12@12 n13@13 n14@14", "ws://192.0.2.1:443"},
	} {
		r := build()
		change := govern(t, r)(r.Revoke(root, bad.node(), c.drop))
		if got := members(r); got != c.members {
			t.Errorf("drop %v: members %s, want %s", c.drop, got, c.members)
		}
		if got := r.Hubs().Hubs[0].URLs[0]; got != c.port {
			t.Errorf("drop %v: hub %s, want %s", c.drop, got, c.port)
		}
		if r.IsAdmin(bad.node()) || !r.IsRevoked(bad.node()) || r.IsRevoked(config.NodeKey{14}) != !c.drop || !r.IsRevoked(config.NodeKey{15}) {
			t.Errorf("drop %v: admin %v, revoked %v", c.drop, r.IsAdmin(bad.node()), r.revoked)
		}
		if got := len(change.Dropped); got != 5 {
			t.Errorf("drop %v: %d statements dropped, want the 5 it has signed", c.drop, got)
		}
		for _, s := range r.Statements() {
			if s.Signer == bad.signer {
				t.Errorf("drop %v: %x of it is still known", c.drop, s.Bytes())
			}
		}
	}
}

// A record that does not stand must not win by being signed anew.
func TestLosersAreNotInherited(t *testing.T) {
	bad := delegates[0]
	for name, change := range map[string]func(rogue, victim *Record){
		"name":      func(r, v *Record) { r.Name = v.Name },
		"address":   func(r, v *Record) { r.IPv4 = v.IPv4 },
		"WireGuard": func(r, v *Record) { r.WireGuard = v.WireGuard },
		"sealing":   func(r, v *Record) { r.Sealing = v.Sealing },
	} {
		r := founded(t)
		victim, _ := r.Get(creator.Public())
		rogue := memberOf(config.NodeKey{}, 11)
		rogue.Node[31] = 1 // lower than any
		change(&rogue, &victim.Record)
		merge(t, r, sign(t, bad.Admin, rogue))
		govern(t, r)(r.Revoke(root, bad.node(), false))
		if got, ok := r.Get(creator.Public()); !ok || got != victim {
			t.Errorf("%s: the creator has lost to what a revoked delegate had signed", name)
		}
		if _, ok := r.Get(rogue.Node); ok {
			t.Errorf("%s: the rogue is a member", name)
		}
	}
}

// Whom the revoked one has admitted stands where it stood, whatever there is
// beside it: unless its place is another's who had lost only to the revoked node.
func TestInheritedStand(t *testing.T) {
	for seed := range uint64(100) {
		w := newWorld(t, seed)
		r := newReplica()
		r.take(t, raws(founded(t))...)
		for range 30 {
			r.take(t, w.statement())
		}
		for _, d := range delegates {
			if !r.IsAdmin(d.node()) {
				continue
			}
			before := maps.Clone(r.members)
			list, err := r.Revoke(root, d.node(), false)
			if err != nil {
				t.Fatal(err)
			}
			r.take(t, list...)
			came := newInUse()
			for node, m := range r.members {
				if before[node] == nil {
					came.add(&m.Record)
				}
			}
			for node, m := range before {
				now, ok := r.Get(node)
				stands := ok && now.Name == m.Name && now.IPv4 == m.IPv4 && sameRecordKeys(now, m)
				if node != d.node() && !stands && !r.rekeyed(m) && came.clash(&m.Record) == clashNone {
					t.Fatalf("seed %d: %s was a member before its admin was revoked; now %v", seed, show([]*SignedRecord{m}), now)
				}
			}
		}
	}
}

// rekeyed says whether there is a record of the node by somebody else with
// other keys: that stands rather than what the revoked one signed.
func (r *replica) rekeyed(m *SignedRecord) bool {
	for _, s := range r.known {
		if s.record != nil && s.Node == m.Node && s.Signer != m.statement.Signer && !sameRecordKeys(s.record, m) {
			return true
		}
	}
	return false
}

func sameRecordKeys(a, b *SignedRecord) bool {
	return a.WireGuard == b.WireGuard && a.Sealing == b.Sealing
}

func TestOnlyTheNetworkKeyGovernsAdmins(t *testing.T) {
	r, d := founded(t), delegates[0].Admin
	merge(t, r, sign(t, d, member(11)))
	_, revoking := r.Revoke(d, creator.Public(), false)
	_, delegating := r.Delegate(d, config.NodeKey{11})
	_, extending := r.Extend(d, delegates[1].node(), testTime)
	for what, err := range map[string]error{"revoke": revoking, "delegate": delegating, "extend": extending} {
		if !errors.Is(err, ErrNetworkKey) {
			t.Errorf("%s: %v, want %v", what, err, ErrNetworkKey)
		}
	}
	for what, err := range map[string]error{
		"delegate": second(r.Delegate(root, config.NodeKey{99})), "extend": second(r.Extend(root, config.NodeKey{99}, testTime)),
	} {
		if err == nil || !strings.Contains(err.Error(), "no member") {
			t.Errorf("%s a stranger: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestDelegate(t *testing.T) {
	r := founded(t)
	merge(t, r, sign(t, root, member(11)), sign(t, delegates[0].Admin, member(12)))
	for host, want := range map[byte]int{11: 1, 12: 2} {
		node := config.NodeKey{host}
		if c := govern(t, r)(r.Delegate(root, node)); len(c.Taken) != want {
			t.Errorf("host %d: %d statements, want %d", host, len(c.Taken), want)
		}
		if rec, ok := r.Get(node); !ok || !r.byNetwork(rec.statement) || !r.IsAdmin(node) {
			t.Errorf("host %d: record %v, admin %v", host, rec, r.IsAdmin(node))
		}
	}
	govern(t, r)(r.Revoke(root, config.NodeKey{11}, false))
	if _, err := r.Delegate(root, config.NodeKey{11}); err == nil {
		t.Error("a revoked node is delegated")
	}
	if merge(t, r, delegate(t, config.NodeKey{11})); r.IsAdmin(config.NodeKey{11}) {
		t.Error("a revoked node is an admin")
	}
}

func TestExtend(t *testing.T) {
	r, d := founded(t), delegates[0].Admin
	rec := member(11)
	rec.Expires, rec.Tags = testTime, []string{"lab"}
	merge(t, r, sign(t, root, rec))
	for _, end := range []time.Time{testTime.Add(time.Hour), {}} {
		govern(t, r)(one(r.Extend(d, rec.Node, end)))
		got, _ := r.Get(rec.Node)
		if !got.Expires.Equal(end) || got.Name != rec.Name || !slices.Equal(got.Tags, rec.Tags) || got.WireGuard != rec.WireGuard {
			t.Errorf("extended to %v: %+v", end, got.Record)
		}
	}
	if _, err := r.Extend(root, creator.Public(), testTime); err == nil {
		t.Error("an admin's membership gets an end")
	}
	govern(t, r)(one(r.Extend(root, rec.Node, testTime)))
	if _, err := r.Delegate(root, rec.Node); err == nil {
		t.Error("a member whose membership ends is made an admin")
	}
}

func TestSetHubs(t *testing.T) {
	r := NewRoster(testNetwork.Public())
	if r.Hubs() != nil {
		t.Fatalf("hubs %v", r.Hubs())
	}
	merge(t, r, delegate(t, delegates[0].node()))
	for i, a := range []Admin{root, delegates[0].Admin, root} {
		c := govern(t, r)(one(r.SetHubs(a, []config.Hub{testHub(1 + i)})))
		if got := r.Hubs(); !c.Hubs || got.Sequence != uint64(1+i) || !got.Hubs[0].Equal(testHub(1+i)) {
			t.Errorf("list %d: %+v, told %v", i, got, c.Hubs)
		}
	}
	if _, err := r.SetHubs(root, nil); err == nil {
		t.Error("no hub at all was signed")
	}
}

// The last numbers are the network key's, so a delegate cannot make what it
// signs final.
func TestSequencesEnd(t *testing.T) {
	r, d, other := founded(t), delegates[0].Admin, delegates[1].Admin
	rec := member(11)
	rec.Sequence = delegateSequences - 1
	merge(t, r, sign(t, d, rec), hubList(t, d, delegateSequences-1, 99))
	for what, err := range map[string]error{
		"extend": second(r.Extend(other, rec.Node, testTime)), "set hubs": second(r.SetHubs(other, []config.Hub{testHub(1)})),
	} {
		if err == nil || config.HintOf(err) == "" {
			t.Errorf("%s: %v, want an error with a hint", what, err)
		}
	}
	for n := range 3 {
		govern(t, r)(one(r.Extend(root, rec.Node, testTime.Add(time.Duration(n)*time.Hour))))
		govern(t, r)(one(r.SetHubs(root, []config.Hub{testHub(1 + n)})))
		if got, _ := r.Get(rec.Node); !got.Expires.Equal(testTime.Add(time.Duration(n)*time.Hour)) || r.Hubs().Hubs[0].Key != testHub(1+n).Key {
			t.Errorf("change %d by the network's key does not count", n)
		}
	}
}
