package e2e

import (
	"context"
	"slices"
	"testing"

	"github.com/p2ptun/p2ptun/signaling"
)

// delegate: as an admin it signs all that there is to sign, with sequence
// numbers that none comes after. The creator stays, plain members go; when the
// network's key revokes it all is as before, and they come back.
func (l *memberLab) delegate(t *testing.T) {
	before := l.nodes(l.b)
	l.must(l.a, "network", "delegate", "a-2")
	l.until(t, seconds(5), "b takes mallory for an admin", func() bool { return l.nodes(l.b)["a-2"].Admin })

	for _, victim := range []*Node{l.a, l.c} {
		rec := must(signaling.ParseRecord(l.network.Public(), l.disk(victim).Proof[0]))
		all := slices.DeleteFunc(everything(l.adminMallory, rec.Record), func(raw []byte) bool {
			return signaling.StatementKind(raw[0]) == signaling.StatementHubs // that is its right
		})
		l.mallory.send(&signaling.Members{Statements: all})
	}
	l.until(t, seconds(5), "c is thrown out at b", func() bool { return l.nodes(l.b)["c"].ID == "" })
	l.until(t, seconds(5), "c is thrown out at a", func() bool { return l.nodes(l.a)["c"].ID == "" })
	if got := l.nodes(l.b)["a"]; got.ID != before["a"].ID {
		t.Errorf("a delegate made the creator %v", got)
	}

	l.must(l.a, "revoke", "a-2", "--drop-admitted")
	delete(before, "a-2")
	for _, n := range []*Node{l.a, l.b} {
		l.until(t, seconds(5), n.Name+" knows c again, and nobody of mallory's", func() bool {
			now := l.nodes(n)
			return len(now) == len(before) && now["c"].ID == before["c"].ID && now["a"].ID == before["a"].ID
		})
	}
	if _, err := l.c.Up(l.ctx); err != nil {
		t.Fatalf("c does not come back: %v", err)
	}
	ctx, cancel := context.WithTimeout(l.ctx, seconds(10))
	defer cancel()
	if err := l.c.FirstPing(ctx, l.addr(l.b)); err != nil {
		t.Error(err)
	}
}
