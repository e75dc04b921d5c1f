package signaling

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

func TestMemberExpires(t *testing.T) {
	k := newTestKeeper(t)
	i := k.invite(t, InviteOptions{Uses: 2, MemberExpires: time.Hour})
	early, late := k.joiner(i, "early"), k.joiner(i, "late")
	if rec := early.join(t, k); !rec.Expires.Equal(testTime.Add(time.Hour)) {
		t.Errorf("expires %v, want an hour after joining", rec.Expires)
	}
	a := late.ask(t, k, testTime.Add(30*time.Minute))
	if rec := late.take(t, a); !rec.Expires.Equal(testTime.Add(90 * time.Minute)) {
		t.Errorf("expires %v, want an hour after joining", rec.Expires)
	}
	if rec := k.joiner(k.invite(t, InviteOptions{}), "x").join(t, k); !rec.Expires.IsZero() {
		t.Errorf("expires %v without having been asked to", rec.Expires)
	}
}

func TestListInvites(t *testing.T) {
	k := newTestKeeper(t)
	if list, err := json.Marshal(k.List(testTime)); string(list) != "[]" || err != nil {
		t.Errorf("none: %s, %v", list, err)
	}
	lab := k.invite(t, InviteOptions{Uses: 3, Tags: []string{"lab"}, MemberExpires: time.Hour})
	k.joiner(lab, "a").join(t, k)
	pc := k.joiner(lab, "b").join(t, k)
	renamed := pc.Record
	renamed.Sequence, renamed.Name = 2, "b-2"
	merge(t, k.cfg.Roster, sign(t, root, renamed))
	k.joiner(lab, "c").ask(t, k, testTime) // has not acknowledged
	if _, err := k.Invite(testTime.Add(time.Minute), InviteOptions{Expires: time.Hour, Replaces: "a"}); err != nil {
		t.Fatal(err)
	}
	list := k.List(testTime.Add(time.Minute))
	if len(list) != 2 || list[0].ID == list[1].ID {
		t.Fatalf("list %+v", list)
	}
	for n, want := range []InviteInfo{
		{State: TicketOpen, Created: testTime.Add(time.Minute), Expires: testTime.Add(time.Hour + time.Minute), Uses: 1, Tags: []string{}, Replaces: "a", Joined: []string{}},
		{State: TicketUsed, Created: testTime, Expires: testTime.Add(24 * time.Hour), Uses: 3, Used: 3, Tags: []string{"lab"}, MemberExpires: "1h0m0s", Joined: []string{"a", "b-2", "c"}},
	} {
		want.ID = list[n].ID
		got, _ := json.Marshal(list[n])
		if wanted, _ := json.Marshal(want); string(got) != string(wanted) {
			t.Errorf("invite %d\n got %s\nwant %s", n, got, wanted)
		}
	}
	merge(t, k.cfg.Roster, revoke(t, root, pc.Node))
	if got := k.List(testTime)[1].Joined; strings.Join(got, " ") != "a b c" {
		t.Errorf("joined %v, want the revoked one, too", got)
	}
	if got := k.List(testTime.Add(time.Hour + time.Minute))[0].State; got != TicketExpired {
		t.Errorf("an hour later: %s", got)
	}
	token := k.invites[0].Secret
	if out, _ := json.Marshal(list); strings.Contains(string(out), config.ID(token).String()) {
		t.Error("the list tells a secret")
	}
}

func TestRevokeInvite(t *testing.T) {
	k := newTestKeeper(t)
	i := k.invite(t, InviteOptions{Uses: 3})
	if _, err := k.Invite(testTime.Add(time.Minute), InviteOptions{}); err != nil {
		t.Fatal(err)
	}
	in, pending := k.joiner(i, "in"), k.joiner(i, "pending")
	rec := in.join(t, k)
	pending.ask(t, k, testTime)
	id := k.List(testTime)[1].ID
	if k.id(k.invites[0]) != id {
		t.Fatalf("the older invite is listed as %s", id)
	}
	if err := k.RevokeInvite("nosuchid"); err == nil || config.HintOf(err) == "" {
		t.Errorf("of an unknown ID: %v", err)
	}
	for range 2 { // twice is once
		if err := k.RevokeInvite(id); err != nil {
			t.Fatal(err)
		}
	}
	k.restart()
	if got := k.states(testTime); got != "revoked open" {
		t.Errorf("tickets %s", got)
	}
	if a := k.joiner(i, "x").ask(t, k, testTime); a.Refusal != CodeRevoked {
		t.Errorf("another machine: %q, want %q", a.Refusal, CodeRevoked)
	}
	if got, ok := k.cfg.Roster.Get(rec.Node); !ok || got != rec {
		t.Error("who has joined under it was thrown out")
	}
	if a := pending.ask(t, k, testTime); a.Refusal != "" {
		t.Errorf("who was admitted, but may not have heard it: %q", a.Refusal)
	}
	used := k.invite(t, InviteOptions{})
	k.joiner(used, "y").join(t, k)
	if err := k.RevokeInvite(k.id(k.invites[2])); err != nil || k.inviteState(k.invites[2], testTime) != TicketRevoked {
		t.Errorf("a used one: %v, %s", err, k.states(testTime))
	}
}
