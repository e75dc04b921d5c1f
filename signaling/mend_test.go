package signaling

import (
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

// TestMend has two keepers admit at the same time, not knowing of each other;
// the one with the higher key mends what loses.
func TestMend(t *testing.T) {
	low, high := delegates[0], delegates[3]
	for _, c := range []struct {
		name   string
		clash  func(ours, theirs *Record)
		name2  string
		moved  bool
		mended bool
	}{
		{"name", func(o, th *Record) { th.Name = o.Name }, "pc-2", false, true},
		{"address", func(o, th *Record) { th.IPv4 = o.IPv4 }, "pc", true, true},
		{"both", func(o, th *Record) { th.Name, th.IPv4 = o.Name, o.IPv4 }, "pc-2", true, true},
		{"WireGuard key", func(o, th *Record) { th.WireGuard = o.WireGuard }, "", false, false},
		{"sealing key", func(o, th *Record) { th.Sealing = o.Sealing }, "", false, false},
		{"name and key", func(o, th *Record) { th.Name, th.Sealing = o.Name, o.Sealing }, "", false, false},
		{"nothing", func(o, th *Record) {}, "pc", false, false},
	} {
		k := newDelegateKeeper(t, high)
		i := k.invite(t, InviteOptions{Uses: 2, Tags: []string{"lab"}})
		first := k.joiner(i, "first").join(t, k)
		j := k.joiner(i, "pc")
		ours := j.join(t, k)
		freed := first.Record // an address below
		freed.Sequence, freed.IPv4 = 2, member(210).IPv4
		merge(t, k.cfg.Roster, sign(t, root, freed))
		theirs := member(211)
		c.clash(&ours.Record, &theirs)
		merge(t, k.cfg.Roster, sign(t, low.Admin, theirs))
		mended, err := k.Mend()
		if err != nil || (len(mended) == 1) != c.mended {
			t.Errorf("%s: %d statements, %v", c.name, len(mended), err)
		}
		merge(t, k.cfg.Roster, mended...)
		got, ok := k.cfg.Roster.Get(j.node())
		if ok != (c.name2 != "") {
			t.Errorf("%s: a member: %v", c.name, ok)
			continue
		}
		if !ok {
			continue
		}
		if got.Name != c.name2 || (got.IPv4 != ours.IPv4) != c.moved || !sameRecordKeys(got, ours) || got.Tags[0] != "lab" {
			t.Errorf("%s: %+v, was %+v", c.name, got.Record, ours.Record)
		}
		if again, err := k.Mend(); err != nil || len(again) != 0 {
			t.Errorf("%s: once more: %d statements, %v", c.name, len(again), err)
		}
		if _, ok := k.cfg.Roster.Get(theirs.Node); !ok {
			t.Errorf("%s: the winner is gone", c.name)
		}
	}
}

// A keeper mends what it has signed, and nobody else's.
func TestMendIsForTheSigner(t *testing.T) {
	winner, loser := member(11), member(12)
	loser.Name = winner.Name
	k := newDelegateKeeper(t, delegates[3])
	merge(t, k.cfg.Roster, sign(t, delegates[0].Admin, winner), sign(t, delegates[1].Admin, loser))
	if got, err := k.Mend(); err != nil || len(got) != 0 {
		t.Errorf("another delegate's: %d statements, %v", len(got), err)
	}
	last := member(13)
	last.Name, last.Sequence = winner.Name, delegateSequences-1
	merge(t, k.cfg.Roster, sign(t, k.cfg.Admin, last))
	if got, err := k.Mend(); err != nil || len(got) != 0 {
		t.Errorf("with the last sequence: %d statements, %v", len(got), err)
	}
	if rec, ok := k.cfg.Roster.Get(config.NodeKey{11}); !ok || rec.Name != winner.Name {
		t.Error("the winner is gone")
	}
}

// Two that lose are given two names.
func TestMendMore(t *testing.T) {
	k := newDelegateKeeper(t, delegates[3])
	i := k.invite(t, InviteOptions{Uses: 3})
	a, b := k.joiner(i, "a").join(t, k), k.joiner(i, "b").join(t, k)
	pending := k.joiner(i, "c")
	pending.ask(t, k, testTime) // has a name and an address already
	one, two := member(211), member(212)
	one.Name, one.IPv4, two.Name, two.IPv4 = a.Name, b.IPv4, b.Name, a.IPv4
	merge(t, k.cfg.Roster, sign(t, delegates[0].Admin, one), sign(t, delegates[0].Admin, two))
	mended, err := k.Mend()
	if err != nil || len(mended) != 2 {
		t.Fatalf("%d statements, %v", len(mended), err)
	}
	merge(t, k.cfg.Roster, mended...)
	published, _ := k.Ack(pending.node(), pending.Ack())
	merge(t, k.cfg.Roster, published...)
	for _, node := range []config.NodeKey{a.Node, b.Node, pending.node(), one.Node, two.Node} {
		if _, ok := k.cfg.Roster.Get(node); !ok {
			t.Errorf("%v is no member: %s", node, members(k.cfg.Roster))
		}
	}
}
