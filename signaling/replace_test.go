package signaling

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// replacing is a keeper whose member "pc" is to be replaced by the machine.
func replacing(t *testing.T, k *testKeeper) (pc *SignedRecord, next *testJoiner) {
	t.Helper()
	k.joiner(k.invite(t, InviteOptions{}), "other").join(t, k)
	pc = k.joiner(k.invite(t, InviteOptions{MemberExpires: time.Hour}), "pc").join(t, k)
	return pc, k.joiner(k.invite(t, InviteOptions{Replaces: "pc"}), "reinstalled")
}

func TestReplace(t *testing.T) {
	for name, k := range map[string]*testKeeper{"creator": newTestKeeper(t), "delegate": newDelegateKeeper(t, delegates[3])} {
		pc, next := replacing(t, k)
		// A membership that has expired meanwhile is replaced all the same.
		rec := next.take(t, next.ask(t, k, testTime.Add(2*time.Hour)))
		if rec.Name != "pc" || rec.IPv4 != pc.IPv4 || !rec.Expires.IsZero() {
			t.Errorf("%s: %+v, want name and address of %+v", name, rec.Record, pc.Record)
		}
		if k.cfg.Roster.IsRevoked(pc.Node) {
			t.Errorf("%s: revoked before the machine has acknowledged", name)
		}
		published, ok := k.Ack(next.node(), next.Ack())
		if !ok || len(published) != 2 {
			t.Fatalf("%s: acknowledged %v, %d statements", name, ok, len(published))
		}
		for n, want := range []StatementKind{StatementRevocation, StatementRecord} {
			if published[n][0] != byte(want) {
				t.Errorf("%s: statement %d is of kind %d, want %d", name, n, published[n][0], want)
			}
		}
		c := merge(t, k.cfg.Roster, published...)
		if len(c.Added) != 1 || len(c.Removed) != 1 || len(c.Revoked) != 1 || c.Revoked[0] != pc.Node {
			t.Errorf("%s: %+v", name, c)
		}
		if got, ok := k.cfg.Roster.ByName("pc"); !ok || got.Node != next.node() {
			t.Errorf("%s: pc is %+v", name, got)
		}
	}
}

// A crash between the save and the acknowledgement leaves what is to be said as
// it was.
func TestReplaceAfterACrash(t *testing.T) {
	k := newTestKeeper(t)
	pc, next := replacing(t, k)
	first := next.ask(t, k, testTime)
	k.restart()
	second := next.ask(t, k, testTime.Add(time.Minute))
	if !slices.EqualFunc(first.Statements, second.Statements, bytes.Equal) {
		t.Error("the machine was told something else")
	}
	published, ok := k.Ack(next.node(), next.Ack())
	if !ok || len(published) != 2 {
		t.Fatalf("acknowledged %v, %d statements", ok, len(published))
	}
	merge(t, k.cfg.Roster, published...)
	if rec, ok := k.cfg.Roster.ByName("pc"); !ok || rec.Node != next.node() || !k.cfg.Roster.IsRevoked(pc.Node) {
		t.Errorf("pc is %+v", rec)
	}
}

// Where the acknowledgement is lost the hub has the new record from the machine
// itself; its keeper then revokes the old one, and renames nobody.
func TestReplaceWithoutAcknowledgement(t *testing.T) {
	for range 10 { // whichever of the two has the lower node key
		k := newTestKeeper(t)
		pc, next := replacing(t, k)
		rec := next.take(t, next.ask(t, k, testTime))
		k.restart()
		if got := k.Owed(); len(got) != 0 {
			t.Fatalf("while it is not known: %d statements", len(got))
		}
		merge(t, k.cfg.Roster, rec.Bytes())
		owed := k.Owed()
		if len(owed) != 1 || owed[0][0] != byte(StatementRevocation) {
			t.Fatalf("%d statements, want a revocation", len(owed))
		}
		merge(t, k.cfg.Roster, owed...)
		if got, ok := k.cfg.Roster.ByName("pc"); !ok || got.Node != next.node() || got.IPv4 != pc.IPv4 || !k.cfg.Roster.IsRevoked(pc.Node) {
			t.Fatalf("pc is %+v", got)
		}
		if again := k.Owed(); len(again) != 0 {
			t.Fatalf("once more: %d statements", len(again))
		}
	}
}

func TestReplaceWhoIsGone(t *testing.T) {
	k := newTestKeeper(t)
	pc, next := replacing(t, k)
	merge(t, k.cfg.Roster, revoke(t, root, pc.Node))
	rec := next.join(t, k)
	if rec.Name != "reinstalled" || rec.IPv4 == pc.IPv4 {
		t.Errorf("%+v, want a machine like any other", rec.Record)
	}
	if _, err := k.Invite(testTime, InviteOptions{Replaces: "pc"}); err == nil {
		t.Error("an invite to replace nobody was made")
	}
}

func TestReplaceAnAdmin(t *testing.T) {
	k := newDelegateKeeper(t, delegates[3])
	if _, err := k.Invite(testTime, InviteOptions{Replaces: "n1"}); err == nil {
		t.Error("a delegate made an invite to replace the creator's machine")
	}
	pc, next := replacing(t, k)
	govern(t, k.cfg.Roster)(one(k.cfg.Roster.Extend(root, pc.Node, time.Time{}))) // meanwhile
	govern(t, k.cfg.Roster)(k.cfg.Roster.Delegate(root, pc.Node))
	rec := next.join(t, k)
	if rec.Name != "reinstalled" || rec.IPv4 == pc.IPv4 || k.cfg.Roster.IsRevoked(pc.Node) {
		t.Errorf("%+v, want a machine like any other", rec.Record)
	}
	creators := keeperOn(t, founded(t), root, creator, 1)
	if _, err := creators.Invite(testTime, InviteOptions{Replaces: "n3"}); err != nil {
		t.Errorf("the creator replaces a delegate's machine: %v", err)
	}
}

func TestTwoRaceToReplace(t *testing.T) {
	k := newTestKeeper(t)
	pc, one := replacing(t, k)
	two := k.joiner(one.invite, "two")
	msg := one.request(t)
	if a := two.ask(t, k, testTime); a.Refusal != "" {
		t.Fatalf("the first to be heard: %q", a.Refusal)
	}
	answer, _, err := k.Answer(testTime, msg)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := one.Answer(answer); err != nil || a.Refusal != CodeUsed {
		t.Errorf("the second: %+v, %v, want %q", a, err, CodeUsed)
	}
	published, _ := k.Ack(two.node(), two.Ack())
	merge(t, k.cfg.Roster, published...)
	if rec, ok := k.cfg.Roster.ByName("pc"); !ok || rec.Node != two.node() || !k.cfg.Roster.IsRevoked(pc.Node) {
		t.Errorf("pc is %+v", rec)
	}
	// Two invites for one member: the later machine is new like any other.
	k = newTestKeeper(t)
	_, one = replacing(t, k)
	two = k.joiner(k.invite(t, InviteOptions{Replaces: "pc"}), "pc")
	one.ask(t, k, testTime)
	two.ask(t, k, testTime)
	for _, j := range []*testJoiner{one, two} {
		published, _ := k.Ack(j.node(), j.Ack())
		merge(t, k.cfg.Roster, published...)
	}
	for n := 0; n < 3; n++ {
		mended, err := k.Mend()
		if err != nil {
			t.Fatal(err)
		}
		merge(t, k.cfg.Roster, mended...)
	}
	a, okA := k.cfg.Roster.Get(one.node())
	b, okB := k.cfg.Roster.Get(two.node())
	if !okA || !okB || a.Name == b.Name || a.IPv4 == b.IPv4 {
		t.Errorf("members %s", members(k.cfg.Roster))
	}
}
