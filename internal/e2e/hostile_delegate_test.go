package e2e

import (
	"context"
	"net/netip"
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

	l.readdresses(t)

	for _, victim := range []*Node{l.a, l.c} {
		rec := l.record(victim)
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

// readdresses: a delegate may give a plain member another address, which takes
// it, as often as that happens; it is reached there as it was before.
func (l *memberLab) readdresses(t *testing.T) {
	rec := l.record(l.c).Record
	first := rec.IPv4
	for _, addr := range []netip.Addr{netip.MustParseAddr("10.77.9.9"), netip.MustParseAddr("10.77.9.10"), first} {
		rec.Sequence, rec.IPv4 = rec.Sequence+1, addr
		l.mallory.send(&signaling.Members{Statements: [][]byte{must(l.adminMallory.Record(rec)).Bytes()}})
		l.until(t, seconds(5), "c has the address "+addr.String(), func() bool {
			s, err := l.c.Status(l.ctx)
			return err == nil && s.Self.State == "up" && len(s.Self.Addresses) > 0 && s.Self.Addresses[0] == addr
		})
		ctx, cancel := context.WithTimeout(l.ctx, seconds(10))
		defer cancel()
		if err := l.b.FirstPing(ctx, addr); err != nil {
			t.Errorf("b does not reach c at %v: %v", addr, err)
		}
	}
	l.must(l.c, "down") // after the tunnel was made several times
	if _, err := l.c.Up(l.ctx); err != nil {
		t.Fatal(err)
	}
}
