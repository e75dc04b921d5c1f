package signaling

import (
	"errors"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

// Who knows nothing but its invite takes a delegate's answer for what the
// network's key has made of the delegate.
func TestDelegateAdmits(t *testing.T) {
	k := newDelegateKeeper(t, delegates[2])
	hubs := delegates[1] // the hub list is another delegate's
	merge(t, k.cfg.Roster, hubList(t, hubs.Admin, 2, 99))
	j := k.joiner(k.invite(t, InviteOptions{}), "laptop")
	a, other := j.ask(t, k, testTime), NewRoster(testNetwork.Public())
	merge(t, other, raws(k.cfg.Roster)...)
	if len(a.Statements) != 4 { // hub list and record, a delegation before each
		t.Errorf("%d statements", len(a.Statements))
	}
	permute(a.Statements, func(order [][]byte) {
		if rec := j.take(t, &JoinAnswer{Statements: order}); rec.Name != "laptop" {
			t.Fatalf("%+v", rec.Record)
		}
	})
	fresh := NewRoster(testNetwork.Public())
	merge(t, fresh, a.Statements...)
	if got := fresh.Hubs(); got == nil || !got.Hubs[0].Equal(testHub(99)) {
		t.Errorf("hubs %+v", got)
	}
	if proof := fresh.Proof(j.node()); len(proof) != 2 {
		t.Errorf("its proof has %d statements", len(proof))
	}
	published, ok := k.Ack(j.node(), j.Ack())
	c := merge(t, other, published...)
	if !ok || len(c.Added) != 1 || c.Added[0].Node != j.node() {
		t.Errorf("published %+v", c)
	}
}

// Own delegation and hub list of one delegate: its delegation comes once.
func TestDelegationIsToldOnce(t *testing.T) {
	k := newDelegateKeeper(t, delegates[2])
	merge(t, k.cfg.Roster, hubList(t, k.cfg.Admin, 2, 99))
	j := k.joiner(k.invite(t, InviteOptions{}), "laptop")
	if a := j.ask(t, k, testTime); len(a.Statements) != 3 {
		t.Errorf("%d statements, want 3", len(a.Statements))
	}
}

// Without the delegation, or with a forged one, an answer makes no member.
func TestNoAdminAdmits(t *testing.T) {
	d, j := delegates[2], config.NodeKey{11}
	record := sign(t, d.Admin, member(11))
	for name, statements := range map[string][][]byte{
		"alone":            {record},
		"delegates itself": {forgedDelegation(t, d.Admin, d.node()), record},
		"by a delegate":    {delegate(t, delegates[0].node()), forgedDelegation(t, delegates[0].Admin, d.node()), record},
		"another's":        {delegate(t, delegates[0].node()), record},
	} {
		r := NewRoster(testNetwork.Public())
		c := r.Merge(statements...)
		if _, ok := r.Get(j); ok || !errors.Is(c.Err, ErrVoid) {
			t.Errorf("%s: a member: %v, %v", name, ok, c.Err)
		}
	}
}

// A revoked keeper that goes on admits nobody where it is known.
func TestRevokedKeeper(t *testing.T) {
	d := delegates[2]
	k := newDelegateKeeper(t, d)
	j := k.joiner(k.invite(t, InviteOptions{}), "laptop")
	a := j.ask(t, k, testTime) // it has not heard it
	knows := founded(t)
	merge(t, knows, revoke(t, root, d.node()))
	published, _ := k.Ack(j.node(), j.Ack())
	for name, statements := range map[string][][]byte{"answer": a.Statements, "published": published} {
		c := knows.Merge(statements...)
		if _, ok := knows.Get(j.node()); ok || knows.IsAdmin(d.node()) || !errors.Is(c.Err, ErrVoid) {
			t.Errorf("%s: makes a member: %v, %v", name, ok, c.Err)
		}
	}
	merge(t, k.cfg.Roster, j.take(t, a).Bytes())
	merge(t, k.cfg.Roster, revoke(t, root, d.node())) // now it hears
	if _, ok := k.cfg.Roster.Get(j.node()); ok {
		t.Error("the machine is a member still")
	}
}
