package signaling

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

func TestJoin(t *testing.T) {
	k := newTestKeeper(t)
	j := k.joiner(k.invite(t, InviteOptions{Tags: []string{"lab"}}), "laptop")
	a := j.ask(t, k, testTime)
	rec := j.take(t, a)
	if a.Refusal != "" || a.NetworkName != "home" || a.Prefix != k.cfg.Prefix || a.DiscoveryKey != k.cfg.Discovery || len(a.Statements) != 1 {
		t.Errorf("answer %+v", a)
	}
	want := Record{
		Node: j.node(), Sequence: 1, Name: "laptop", IPv4: netip.MustParseAddr("10.77.0.2"),
		WireGuard: j.wg.Public(), Sealing: j.self.Sealing.Public(), Tags: []string{"lab"},
	}
	if fmt.Sprintf("%+v", rec.Record) != fmt.Sprintf("%+v", want) {
		t.Errorf("record\n got %+v\nwant %+v", rec.Record, want)
	}
	if !IsJoinAck(j.Ack()) || IsJoinAck(j.request(t)) {
		t.Error("IsJoinAck is wrong")
	}
	if _, ok := k.Ack(j.node(), j.Ack()); !ok {
		t.Error("acknowledgement refused")
	}
	if _, ok := k.Ack(j.node(), j.Ack()); ok {
		t.Error("acknowledged twice")
	}
}

func TestAck(t *testing.T) {
	k := newTestKeeper(t)
	i := k.invite(t, InviteOptions{Uses: 2})
	a, b := k.joiner(i, "a"), k.joiner(i, "b")
	a.ask(t, k, testTime)
	b.ask(t, k, testTime)
	wrong := bytes.Clone(a.Ack())
	wrong[9] ^= 1
	for name, c := range map[string]struct {
		from config.NodeKey
		msg  []byte
	}{
		"altered": {a.node(), wrong}, "another's": {a.node(), b.Ack()}, "empty": {a.node(), nil},
		"cut": {a.node(), a.Ack()[:32]}, "a stranger": {config.NodeKey{1}, a.Ack()},
	} {
		if _, ok := k.Ack(c.from, c.msg); ok {
			t.Errorf("%s: taken", name)
		}
	}
	for _, j := range []*testJoiner{b, a} {
		published, ok := k.Ack(j.node(), j.Ack())
		if !ok || len(published) != 1 {
			t.Fatalf("%s: %v, %d statements", j.name, ok, len(published))
		}
		if c := merge(t, k.cfg.Roster, published...); len(c.Added) != 1 || c.Added[0].Node != j.node() {
			t.Errorf("%s: published %+v", j.name, c)
		}
	}
}

func TestRefusals(t *testing.T) {
	k := newTestKeeper(t)
	used, expired, revoked := k.invite(t, InviteOptions{}), k.invite(t, InviteOptions{Expires: time.Hour}), k.invite(t, InviteOptions{})
	k.joiner(used, "first").join(t, k)
	if err := k.RevokeInvite(k.id(k.invites[2])); err != nil {
		t.Fatal(err)
	}
	late := testTime.Add(time.Hour)
	if got, want := k.states(late), "used expired revoked"; got != want {
		t.Errorf("tickets %s, want %s", got, want)
	}
	for _, c := range []struct {
		invite config.Invite
		now    time.Time
		want   ErrorCode
	}{
		{used, testTime, CodeUsed},
		{expired, late, CodeExpired},
		{revoked, testTime, CodeRevoked},
		{expired, late.Add(-time.Nanosecond), ""},
	} {
		a := k.joiner(c.invite, "x").ask(t, k, c.now)
		if a.Refusal != c.want {
			t.Errorf("refusal %q, want %q", a.Refusal, c.want)
		}
		if c.want != "" && (a.Statements != nil || a.DiscoveryKey != [32]byte{}) {
			t.Errorf("%s: the refusal says %+v", c.want, a)
		}
	}
}

func TestUsesCountOncePerNode(t *testing.T) {
	k := newTestKeeper(t)
	i := k.invite(t, InviteOptions{Uses: 2, Expires: time.Hour})
	a, b, c := k.joiner(i, "a"), k.joiner(i, "b"), k.joiner(i, "c")
	first := a.ask(t, k, testTime)
	for n := range 3 {
		if n == 1 {
			k.restart()
		}
		again := &testJoiner{NewJoiner(a.self, a.wg, i), a.sealing, "other-name"}
		// A retry counts even when the invite has ended since.
		if got := again.ask(t, k, testTime.Add(2*time.Hour)); got.Refusal != "" || !slices.EqualFunc(got.Statements, first.Statements, bytes.Equal) {
			t.Fatalf("retry %d: %q, the same statements: %v", n, got.Refusal, slices.EqualFunc(got.Statements, first.Statements, bytes.Equal))
		}
	}
	if got := b.ask(t, k, testTime).Refusal; got != "" {
		t.Errorf("the second machine: %s", got)
	}
	if got := c.ask(t, k, testTime).Refusal; got != CodeUsed {
		t.Errorf("the third machine: %q, want used", got)
	}
	if n := len(k.saved[0].Admitted); n != 2 {
		t.Errorf("%d uses counted, want 2", n)
	}
}

func TestSameRequestSameAnswer(t *testing.T) {
	k := newTestKeeper(t)
	j := k.joiner(k.invite(t, InviteOptions{}), "laptop")
	first := j.request(t)
	if !bytes.Equal(first, j.request(t)) {
		t.Fatal("the request has changed: an answer to the first would be lost")
	}
	one, _, err := k.Answer(testTime, first)
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := k.Answer(testTime, j.request(t))
	if err != nil || !bytes.Equal(one, two) {
		t.Fatalf("the answers differ, %v: an acknowledgement of the first would be refused", err)
	}
	if _, err := j.Answer(one); err != nil {
		t.Fatal(err)
	}
	if _, ok := k.Ack(j.node(), j.Ack()); !ok {
		t.Error("acknowledgement refused")
	}
}

// Nothing is admitted, and nothing said, before it is on disk.
func TestSaveFails(t *testing.T) {
	k := newTestKeeper(t)
	i := k.invite(t, InviteOptions{})
	j := k.joiner(i, "laptop")
	k.failing = errors.New("disk full")
	if _, err := k.Invite(testTime, InviteOptions{}); !errors.Is(err, k.failing) || len(k.Tickets(testTime)) != 1 {
		t.Errorf("invite: %v, %d tickets", err, len(k.Tickets(testTime)))
	}
	msg, _, err := k.Answer(testTime, j.request(t))
	if !errors.Is(err, k.failing) || msg != nil {
		t.Fatalf("answer: %x, %v", msg, err)
	}
	if len(k.invites[0].Admitted) != 0 || len(k.waiting) != 0 || len(k.saved[0].Admitted) != 0 {
		t.Error("admitted all the same")
	}
	k.failing = nil
	j.join(t, k)
}

func TestCrashAfterSave(t *testing.T) {
	k := newTestKeeper(t)
	j := k.joiner(k.invite(t, InviteOptions{}), "laptop")
	msg, _, err := k.Answer(testTime, j.request(t))
	if err != nil {
		t.Fatal(err)
	}
	k.restart() // the answer was lost
	if got := k.states(testTime.Add(48 * time.Hour)); got != "open" {
		t.Errorf("ticket %s: the machine could not ask again", got)
	}
	rec := j.join(t, k)
	if rec.Name != "laptop" || rec.IPv4 != netip.MustParseAddr("10.77.0.2") || len(k.invites[0].Admitted) != 1 {
		t.Errorf("came in as %+v, %d uses", rec.Record, len(k.invites[0].Admitted))
	}
	if got := k.states(testTime); got != "used" {
		t.Errorf("ticket %s, want used", got)
	}
	if _, err := j.Answer(msg); err != nil { // the answer from before the crash is to the same request
		t.Errorf("the first answer: %v", err)
	}
}

func TestInviteLimits(t *testing.T) {
	k := newTestKeeper(t)
	for _, c := range []struct {
		name string
		o    InviteOptions
		want string
	}{
		{"negative uses", InviteOptions{Uses: -1}, "uses"},
		{"too many uses", InviteOptions{Uses: maxInviteUses + 1}, "uses"},
		{"in the past", InviteOptions{Expires: -time.Second}, "before it is made"},
		{"for ever", InviteOptions{Expires: maxInviteLife + 1}, "at most"},
		{"members of the past", InviteOptions{MemberExpires: -time.Second}, "before it begins"},
		{"members of a far future", InviteOptions{MemberExpires: maxInviteLife + 1}, "at most"},
		{"two for one", InviteOptions{Uses: 2, Replaces: "keeper"}, "one machine replaces"},
		{"itself", InviteOptions{Replaces: "keeper"}, "this very machine"},
		{"nobody", InviteOptions{Replaces: "pc"}, "no member has the name"},
		{"a bad tag", InviteOptions{Tags: []string{"A"}}, "tag"},
		{"too many tags", InviteOptions{Tags: slices.Repeat([]string{"a"}, maxTags+1)}, "tags"},
	} {
		if _, err := k.Invite(testTime, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if k.saved != nil {
		t.Errorf("saved %v", k.saved)
	}
	k.invite(t, InviteOptions{})
	if got := k.saved[0]; got.Uses != 1 || !got.Expires.Equal(testTime.Add(24*time.Hour)) {
		t.Errorf("the default is %d uses until %v", got.Uses, got.Expires)
	}
}

// The tickets of as many invites as there may be fit one frame; closed ones
// make room for new ones.
func TestManyInvites(t *testing.T) {
	k := newTestKeeper(t)
	for range maxInvites {
		k.invite(t, InviteOptions{Expires: time.Hour})
	}
	for _, now := range []time.Time{testTime, testTime.Add(time.Hour)} {
		if _, err := Encode(&Tickets{Tickets: k.Tickets(now)}); err != nil {
			t.Errorf("at %v: %v", now, err)
		}
	}
	if _, err := k.Invite(testTime, InviteOptions{}); err == nil {
		t.Error("one more was made")
	}
	if _, err := k.Invite(testTime.Add(time.Hour), InviteOptions{}); err != nil || len(k.saved) != 1 {
		t.Errorf("when all have expired: %v, %d are kept, want 1", err, len(k.saved))
	}
}

func TestOldInvitesAreForgotten(t *testing.T) {
	k := newTestKeeper(t)
	i := k.invite(t, InviteOptions{Uses: 2, Expires: time.Hour})
	k.joiner(i, "never-back").ask(t, k, testTime)
	end := testTime.Add(time.Hour)
	for _, c := range []struct {
		now  time.Time
		want int // kept, with the new one
	}{{end.Add(keepClosed - time.Second), 2}, {end.Add(keepClosed), 2}} {
		if _, err := k.Invite(c.now, InviteOptions{Expires: 1000 * time.Hour}); err != nil {
			t.Fatal(err)
		}
		if got := len(k.invites); got != c.want {
			t.Errorf("%v after its end: %d invites, want %d", c.now.Sub(end), got, c.want)
		}
	}
	if k.invites[0].Expires.Equal(end) {
		t.Error("the old one is still kept")
	}
}
