package signaling

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// What a hostile delegate signs of the creator and of other admins changes
// nothing for them.
func TestHostileDelegateAgainstAdmins(t *testing.T) {
	bad := delegates[0] // the lowest key: wins wherever delegates are equal
	rogue := memberOf(config.NodeKey{}, 66)
	rogue.Node[31] = 1 // lower than any
	for _, victim := range []config.NodeKey{creator.Public(), delegates[2].node()} {
		rec, _ := founded(t).Get(victim)
		like := func(change func(*Record)) []byte {
			r := rogue
			change(&r)
			return sign(t, bad.Admin, r)
		}
		changed := rec.Record
		changed.Sequence, changed.Name, changed.IPv4, changed.WireGuard = delegateSequences-1, "evil", member(77).IPv4, config.WireGuardKey{77}
		last := changed
		last.Sequence = 1<<64 - 1
		for name, raw := range map[string][]byte{
			"takes its name":          like(func(r *Record) { r.Name = rec.Name }),
			"takes its address":       like(func(r *Record) { r.IPv4 = rec.IPv4 }),
			"takes its WireGuard key": like(func(r *Record) { r.WireGuard = rec.WireGuard }),
			"takes its sealing key":   like(func(r *Record) { r.Sealing = rec.Sealing }),
			"changes its record":      sign(t, bad.Admin, changed),
			"changes it for ever":     sign(t, bad.Admin, last),
			"revokes it":              revoke(t, bad.Admin, victim),
			"delegates a friend":      forgedDelegation(t, bad.Admin, rogue.Node),
		} {
			r := founded(t)
			c := r.Merge(raw)
			if got, ok := r.Get(victim); !ok || got.Name != rec.Name || got.IPv4 != rec.IPv4 || !sameRecordKeys(got, rec) {
				t.Errorf("%s: %v is %+v now", name, victim, got)
			}
			if len(c.Added)+len(c.Removed)+len(c.Revoked) != 0 || !r.IsAdmin(victim) || r.IsAdmin(rogue.Node) {
				t.Errorf("%s: changes %+v", name, c)
			}
			if _, ok := r.Get(rogue.Node); ok {
				t.Errorf("%s: the rogue is a member", name)
			}
		}
	}
}

func TestLastSequenceIsNoDelegates(t *testing.T) {
	r, bad := founded(t), delegates[0]
	merge(t, r, sign(t, root, member(11)))
	last := member(11)
	last.Sequence, last.Name = 1<<64-1, "evil"
	for name, raw := range map[string][]byte{"record": sign(t, bad.Admin, last), "hub list": hubList(t, bad.Admin, delegateSequences, 99)} {
		if c := r.Merge(raw); !errors.Is(c.Err, ErrVoid) || len(c.Taken) != 0 {
			t.Errorf("%s: %+v, want %v", name, c, ErrVoid)
		}
	}
}

// Revoked is revoked, in whatever order a recorder of all that was ever said
// repeats it.
func TestWhatARevokedDelegateSigned(t *testing.T) {
	bad, good := delegates[0], delegates[1]
	base := raws(founded(t))
	absurd := member(12)
	absurd.Sequence, absurd.Name = delegateSequences-1, "evil"
	signed := [][]byte{
		sign(t, bad.Admin, member(11)), sign(t, bad.Admin, absurd), revoke(t, bad.Admin, config.NodeKey{13}),
		hubList(t, bad.Admin, delegateSequences-1, 99), revoke(t, bad.Admin, good.node()), forgedDelegation(t, bad.Admin, config.NodeKey{11}),
	}
	later := sign(t, bad.Admin, member(15)) // by a machine that does not obey
	own := memberOf(bad.node(), 2)
	own.Sequence = 9
	others := [][]byte{sign(t, root, member(12)), sign(t, root, member(13)), sign(t, good.Admin, member(14))}
	w := newWorld(t, 1)
	for range 30 {
		r := newReplica()
		w.deliver(r, append(slices.Clone(base), others...))
		w.deliver(r, append(slices.Clone(base), others...)) // what came before its delegation
		switch w.IntN(3) {
		case 0: // the revocation comes last
			w.deliver(r, signed)
			r.take(t, revoke(t, root, bad.node()))
		case 1: // first
			r.take(t, revoke(t, root, bad.node()))
			w.deliver(r, signed)
		case 2: // between
			w.deliver(r, append(slices.Clone(signed), revoke(t, root, bad.node())))
		}
		w.deliver(r, append(slices.Clone(signed), later, sign(t, root, own), delegate(t, bad.node())))
		w.deliver(r, base)
		if got, want := members(r.Roster), "n1@1 n3@3 n4@4 n5@5 n12@12 n13@13 n14@14"; got != want {
			t.Fatalf("members %s, want %s", got, want)
		}
		if r.Hubs().Sequence != 1 || r.IsAdmin(bad.node()) || !r.IsAdmin(good.node()) || r.signed[bad.signer] != 0 {
			t.Fatalf("hubs %+v, admin %v", r.Hubs(), r.IsAdmin(bad.node()))
		}
	}
}

// What an honest admin takes over from a hostile one has sequences that can be
// followed, and the hostile ones do not come back.
func TestAbsurdSequencesAreNotInherited(t *testing.T) {
	r, bad, good := founded(t), delegates[0], delegates[1]
	changed, admitted := member(11), member(12)
	changed.Sequence, admitted.Sequence = delegateSequences-1, delegateSequences-1
	merge(t, r, sign(t, root, member(11)), sign(t, bad.Admin, changed), sign(t, bad.Admin, admitted), hubList(t, bad.Admin, delegateSequences-1, 99))
	govern(t, r)(r.Revoke(root, bad.node(), false))
	r.Merge(sign(t, bad.Admin, changed), sign(t, bad.Admin, admitted), hubList(t, bad.Admin, delegateSequences-1, 99))
	for host, want := range map[byte]uint64{11: 2, 12: 1} {
		if rec, ok := r.Get(config.NodeKey{host}); !ok || rec.Sequence != want {
			t.Errorf("host %d: %+v, want sequence %d", host, rec, want)
		}
	}
	govern(t, r)(one(r.Extend(good.Admin, config.NodeKey{12}, testTime)))
	govern(t, r)(one(r.SetHubs(good.Admin, []config.Hub{testHub(1)})))
	if rec, _ := r.Get(config.NodeKey{12}); rec.Sequence != 2 || r.Hubs().Sequence != 3 {
		t.Errorf("sequences %d and %d, want 2 and 3", rec.Sequence, r.Hubs().Sequence)
	}
}

func TestDelegatesRevokeEachOther(t *testing.T) {
	a, b := delegates[0], delegates[1]
	both := [][]byte{revoke(t, a.Admin, b.node()), revoke(t, b.Admin, a.node()), sign(t, a.Admin, member(11)), sign(t, b.Admin, member(12))}
	permute(both, func(order [][]byte) {
		r := founded(t)
		for _, raw := range order {
			merge(t, r, raw)
		}
		if got, want := members(r), "n1@1 n2@2 n3@3 n4@4 n5@5 n11@11 n12@12"; got != want {
			t.Fatalf("members %s, want %s", got, want)
		}
	})
	r := founded(t)
	merge(t, r, both...)
	govern(t, r)(r.Revoke(root, a.node(), false))
	if r.IsRevoked(b.node()) || !r.IsAdmin(b.node()) || !r.IsRevoked(a.node()) {
		t.Error("the word of a revoked admin against another was taken over")
	}
}

// Who is made an admin was trusted by the network's key, whatever a delegate
// had said of it; who is one no more falls under what was said.
func TestRevokedBeforeBeingAnAdmin(t *testing.T) {
	node := config.NodeKey{11}
	said := [][]byte{revoke(t, delegates[0].Admin, node), delegate(t, node), sign(t, root, member(11))}
	permute(said, func(order [][]byte) {
		r := founded(t)
		for _, raw := range order {
			merge(t, r, raw)
		}
		if _, member := r.Get(node); !member || !r.IsAdmin(node) || r.Revocation(node) != nil {
			t.Fatal("a delegate's revocation counts against an admin")
		}
		merge(t, r, revoke(t, root, node))
		if !r.IsRevoked(node) || r.IsAdmin(node) {
			t.Fatal("not revoked")
		}
	})
}

// flood is many statements of a delegate: records of members, the others
// revocations. Nobody has time to make and verify so many signatures.
func flood(d *testDelegate, records, revocations int) []*Statement {
	var all []*Statement
	for i := range records + revocations {
		s := &Statement{Kind: StatementRevocation, Signer: d.signer, Node: config.NodeKey{byte(i), byte(i >> 8), 1}}
		if i < records {
			r := memberOf(s.Node, byte(i))
			r.Name = fmt.Sprintf("flood-%d", i)
			r.IPv4 = netip.AddrFrom4([4]byte{10, 78, byte(i >> 8), byte(i)})
			r.WireGuard, r.Sealing[1] = config.WireGuardKey{byte(i), byte(i >> 8), 1}, 1
			r.Sealing[2] = byte(i >> 8)
			s.Kind, s.record = StatementRecord, &SignedRecord{Record: r, statement: s}
		}
		s.raw = s.Key()
		s.hash = sha256.Sum256(s.raw)
		all = append(all, s)
	}
	return all
}

// takeAll is Merge for statements that were verified.
func takeAll(r *Roster, all []*Statement) (c Change, refused int) {
	for _, s := range all {
		if r.take(s, &c) != nil {
			refused++
		}
	}
	r.view = r.look()
	return c, refused
}

// A delegate that signs without end costs everybody so much and no more, and
// all keep the same.
func TestDelegateSignsTooMuch(t *testing.T) {
	bad := delegates[0]
	all := flood(bad, 20, maxSigned+10)
	forward, backward := founded(t), founded(t)
	before := len(forward.known)
	takeAll(forward, all[:maxSigned])
	if c, refused := takeAll(forward, all[maxSigned:]); len(c.Taken) != 30 || len(c.Dropped) != 30 || refused != 0 {
		t.Errorf("%d taken, %d dropped, %d refused; want 30, 30 and 0: revocations go before records, and low keys before high", len(c.Taken), len(c.Dropped), refused)
	}
	slices.Reverse(all)
	takeAll(backward, all)
	for _, r := range []*Roster{forward, backward} {
		if r.signed[bad.signer] != maxSigned || len(r.known) != before+maxSigned || len(r.hashes) != len(r.known) {
			t.Errorf("%d statements of it, %d in all, %d hashes", r.signed[bad.signer], len(r.known), len(r.hashes))
		}
	}
	if !bytes.Equal(forward.Digest(), backward.Digest()) || members(forward) != members(backward) {
		t.Error("what is kept depends on the order")
	}
	full := forward.Digest()
	c := forward.Merge(sign(t, bad.Admin, member(255)))
	if c.Err == nil || len(c.Taken) != 0 || !bytes.Equal(forward.Digest(), full) {
		t.Errorf("one record more: %d taken, %v", len(c.Taken), c.Err)
	}
	first := revoke(t, bad.Admin, config.NodeKey{0, 0, 0, 1})
	if c = forward.Merge(first); c.Err != nil || len(c.Taken) != 1 || len(c.Dropped) != 1 {
		t.Errorf("one that comes first: %d taken, %d dropped, %v", len(c.Taken), len(c.Dropped), c.Err)
	}
	merge(t, forward, sign(t, delegates[1].Admin, member(11))) // others go on
	c = merge(t, forward, revoke(t, root, bad.node()))
	if len(c.Dropped) != maxSigned || len(forward.known) != before+2 || forward.signed[bad.signer] != 0 {
		t.Errorf("%d statements remain when it is revoked, %d dropped", len(forward.known), len(c.Dropped))
	}
}

// BenchmarkMerge takes one statement more in a large network.
func BenchmarkMerge(b *testing.B) {
	r := founded(b)
	takeAll(r, flood(delegates[1], 10_000, 1000))
	var one [][]byte
	for i := range 1000 {
		rec := member(11)
		rec.Sequence = uint64(1 + i)
		one = append(one, sign(b, root, rec))
	}
	b.ResetTimer()
	for i := range b.N {
		r.Merge(one[i%1000])
	}
}

// A plain member can sign what it likes.
func TestPlainMemberSignsNothing(t *testing.T) {
	r := founded(t)
	key := nodeKey(90)
	own := memberOf(key.Public(), 11)
	own.Expires = testTime
	merge(t, r, sign(t, root, own))
	before := r.Digest()
	wider, longer, renamed := own, own, own
	wider.Tags, longer.Expires, renamed.Name = []string{"admin"}, testTime.Add(time.Hour), "server"
	self := DelegateAdmin(testNetwork.Public(), key)
	for name, raw := range map[string][]byte{
		"widens its tags":      sign(t, self, wider),
		"extends its expiry":   sign(t, self, longer),
		"changes its name":     sign(t, self, renamed),
		"admits a friend":      sign(t, self, member(12)),
		"revokes":              revoke(t, self, creator.Public()),
		"moves the hub":        hubList(t, self, 9, 9),
		"delegates itself":     forgedDelegation(t, self, key.Public()),
		"under another's name": slices.Concat([]byte{byte(StatementRecord)}, root.signer[:], sign(t, self, wider)[33:]),
	} {
		if c := r.Merge(raw); len(c.Taken) != 0 || c.Err == nil || !bytes.Equal(r.Digest(), before) {
			t.Errorf("%s: %+v", name, c)
		}
	}
	edited := sign(t, root, own)
	at := bytes.Index(edited, []byte("n11"))
	copy(edited[at:], "n01")
	if c := r.Merge(edited); !errors.Is(c.Err, ErrSignature) {
		t.Errorf("edits what was signed: %+v", c)
	}
}
