package tunnel

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
	"github.com/p2ptun/p2ptun/signaling"
)

// newHandoverLab has the admins a and b, who can keep invites and of whom b holds
// the network's key, and the plain member c.
func newHandoverLab(t *testing.T) *gossipLab {
	l := newGossipLab(t, "a", "b", "c")
	admin := signaling.NetworkAdmin(l.network)
	var known [][]byte
	for i, name := range []string{"a", "b", "c"} {
		node := l.nodes[name].self.Node.Public()
		known = append(known, l.record(node, name, i+1).Bytes())
		if name == "c" {
			continue
		}
		d, err := admin.Delegate(node)
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, d.Bytes())
	}
	for _, n := range l.nodes {
		n.roster.Merge(known...)
		n.link.up, n.offers = true, make(map[*handover]bool)
		n.node.Prefix = netip.MustParsePrefix("10.77.0.0/16")
		if err := n.openKeeper(); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *gossipLab) kept(name string) []signaling.InviteInfo {
	return l.nodes[name].keeper.List(time.Now())
}

// Who makes an invite hears that it is kept, and it is kept once, however often
// it is told.
func TestHandover(t *testing.T) {
	l := newHandoverLab(t)
	a := l.nodes["a"]
	h, err := a.offer("b", signaling.InviteOptions{Uses: 3, Tags: []string{"lab"}, MemberExpires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l.settle()
		select {
		case answer := <-h.answer:
			if answer.Error != "" {
				t.Fatal(answer.Error)
			}
		default:
			t.Fatal("no answer")
		}
		a.tellOffer(h)
	}
	kept := l.kept("b")
	if len(kept) != 1 || kept[0].From != "a" || kept[0].Uses != 3 || kept[0].MemberExpires != "1h0m0s" || kept[0].State != signaling.TicketOpen {
		t.Errorf("b keeps %+v", kept)
	}
	stored, err := l.nodes["b"].cfg.Dir.LoadInvites()
	if err != nil || len(stored) != 1 || string(stored[0].Secret) != string(h.Secret) {
		t.Errorf("b has stored %v, %v", stored, err)
	}
	if h.invite.Keeper != l.nodes["b"].self.Node.Public() || len(l.kept("a")) != 0 {
		t.Errorf("a made %+v and keeps %+v", h.invite, l.kept("a"))
	}

	revoke, err := signaling.NetworkAdmin(l.network).Revoke(a.self.Node.Public())
	if err != nil {
		t.Fatal(err)
	}
	l.nodes["b"].roster.Merge(revoke.Bytes())
	if kept := l.kept("b"); kept[0].State != signaling.TicketRevoked {
		t.Errorf("its maker is revoked, b keeps %+v", kept)
	}
}

// A plain member has nobody keep an invite, and passes for no keeper.
func TestHandoverOfPlainMember(t *testing.T) {
	l := newHandoverLab(t)
	b, c := l.nodes["b"], l.nodes["c"]
	if _, err := c.offer("b", signaling.InviteOptions{}); err == nil {
		t.Error("c may offer")
	}
	h, err := signaling.NewHandover(signaling.InviteOptions{Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	c.peers["b"].tell(jsonNote(noteKeep, h))
	l.settle()
	if kept := l.kept("b"); len(kept) != 0 || b.refuse["invite handed over"] != 1 {
		t.Errorf("b keeps %+v, refused %v", kept, b.refuse)
	}

	offer, err := l.nodes["a"].offer("b", signaling.InviteOptions{Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	l.queue = nil // b hears nothing
	c.peers["a"].tell(jsonNote(noteKept, handoverAnswer{Ticket: ticketHash(c.self.Network, offer.Secret)}))
	l.settle()
	if len(offer.answer) != 0 {
		t.Error("a takes c's word for b's")
	}
	if _, err := l.nodes["a"].offer("c", signaling.InviteOptions{}); err == nil || config.HintOf(err) == "" {
		t.Errorf("a plain member as keeper: %v", err)
	}
}

// What a keeper does not take is said, with its reason.
func TestHandoverRefused(t *testing.T) {
	l := newHandoverLab(t)
	a, b := l.nodes["a"], l.nodes["b"]
	for name, o := range map[string]signaling.InviteOptions{
		`"x"`:         {Replaces: "x", Uses: 1},
		"is an admin": {Replaces: "a", Uses: 1}, // of b's right a makes no use
	} {
		h, err := a.offer("b", o)
		if err != nil {
			t.Fatal(err)
		}
		l.settle()
		if answer := <-h.answer; !strings.Contains(answer.Error, name) {
			t.Errorf("answer %q, want %q", answer.Error, name)
		}
	}
	// What the network's key signs outlasts the maker of an invite.
	b.node.Creator, b.keeper = &l.network, nil
	if err := b.openKeeper(); err != nil {
		t.Fatal(err)
	}
	h, err := a.offer("b", signaling.InviteOptions{Uses: 1})
	if err != nil {
		t.Fatal(err)
	}
	l.settle()
	if answer := <-h.answer; !strings.Contains(answer.Error, "keeps no invites of others") || len(l.kept("b")) != 0 {
		t.Errorf("with the network's key b answers %q and keeps %+v", answer.Error, l.kept("b"))
	}
	if _, err := a.offer("b", signaling.InviteOptions{Uses: -1}); err == nil {
		t.Error("-1 uses")
	}
	for _, note := range []any{"x", map[string]any{"secret": []byte("short")}, map[string]any{}} {
		before := b.refuse["note of a member"]
		a.peers["b"].tell(jsonNote(noteKeep, note))
		l.settle()
		if b.refuse["note of a member"] != before+1 {
			raw, _ := json.Marshal(note)
			t.Errorf("%s: not refused", raw)
		}
	}
	if kept := l.kept("b"); len(kept) != 0 {
		t.Errorf("b keeps %+v", kept)
	}
}
