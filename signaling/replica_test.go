package signaling

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/p2ptun/p2ptun/config"
)

// replica is a roster with an observer, who sees only its changes.
type replica struct {
	*Roster
	told    map[config.NodeKey]*SignedRecord
	revoked map[config.NodeKey]bool
}

func newReplica() *replica {
	return &replica{NewRoster(testNetwork.Public()), map[config.NodeKey]*SignedRecord{}, map[config.NodeKey]bool{}}
}

// take merges statements, bad ones among them, and follows the change.
func (r *replica) take(t *testing.T, raw ...[]byte) {
	t.Helper()
	known, list := r.Digest(), r.Hubs()
	c := r.Merge(raw...)
	if (len(c.Taken) > 0) == bytes.Equal(known, r.Digest()) {
		t.Fatalf("%d taken, the digest is as it was: %v", len(c.Taken), bytes.Equal(known, r.Digest()))
	}
	if c.Hubs != (list != r.Hubs()) {
		t.Fatalf("a change of the hub list is told: %v", c.Hubs)
	}
	for _, s := range c.Taken {
		if !r.Has(s.Hash()) {
			t.Fatal("told as taken, and not known")
		}
	}
	for _, m := range c.Removed {
		if r.told[m.Node] != m {
			t.Fatalf("removed %s, which was no member", show([]*SignedRecord{m}))
		}
		delete(r.told, m.Node)
	}
	for _, m := range c.Added {
		if r.told[m.Node] != nil {
			t.Fatalf("added %s over an older record that was not removed", show([]*SignedRecord{m}))
		}
		r.told[m.Node] = m
	}
	for _, node := range c.Revoked {
		r.revoked[node] = true
	}
	r.check(t)
}

// check holds what is always true.
func (r *replica) check(t *testing.T) {
	t.Helper()
	if !maps.Equal(r.told, r.members) {
		t.Fatalf("the changes make %s, the roster has %s", show(slices.Collect(maps.Values(r.told))), members(r.Roster))
	}
	for node := range r.Roster.revoked {
		if _, member := r.Get(node); member || !r.revoked[node] {
			t.Fatalf("%v is revoked; a member: %v, told: %v", node, member, r.revoked[node])
		}
	}
	for _, s := range r.known {
		if s.Kind == StatementDelegation && !r.byNetwork(s) {
			t.Fatal("a delegation that is not the network key's is kept")
		}
	}
	used := newInUse()
	for _, m := range r.members {
		if used.clash(&m.Record) != clashNone {
			t.Fatalf("%s clashes with another member", show([]*SignedRecord{m}))
		}
		used.add(&m.Record)
	}
	for _, rec := range r.records {
		if r.members[rec.Node] == nil && used.clash(&rec.Record) == clashNone {
			t.Fatalf("%s clashes with nobody, and is no member", show([]*SignedRecord{rec}))
		}
	}
}

// world makes statements of all admins, past and present, and of others who
// would like to be.
type world struct {
	*rand.Rand
	t       *testing.T
	signers []Admin
	nodes   []config.NodeKey
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), t: t, signers: []Admin{root}, nodes: []config.NodeKey{creator.Public()}}
	for _, d := range delegates {
		w.signers, w.nodes = append(w.signers, d.Admin), append(w.nodes, d.node())
	}
	for host := range byte(6) {
		w.nodes = append(w.nodes, config.NodeKey{10 + host})
	}
	member := nodeKey(90) // a plain member, with its own key
	w.signers = append(w.signers, DelegateAdmin(testNetwork.Public(), member))
	w.nodes = append(w.nodes, member.Public())
	return w
}

func (w *world) node() config.NodeKey { return w.nodes[w.IntN(len(w.nodes))] }

// statement is any statement of any signer, about the same few nodes, names,
// addresses and keys.
func (w *world) statement() []byte {
	a := w.signers[w.IntN(len(w.signers))]
	sequence := uint64(w.IntN(3))
	if w.IntN(20) == 0 {
		sequence = 1<<64 - 1
	}
	switch w.IntN(12) {
	case 0, 1:
		return forgedDelegation(w.t, a, w.node())
	case 2:
		return revoke(w.t, a, w.node())
	case 3:
		return hubList(w.t, a, sequence, 1+w.IntN(3))
	case 4:
		return revoke(w.t, root, w.nodes[1+w.IntN(len(delegates))])
	}
	r := memberOf(w.node(), byte(1+w.IntN(8)))
	r.Sequence, r.IPv4 = sequence, member(byte(1+w.IntN(8))).IPv4
	r.WireGuard, r.Sealing[0] = config.WireGuardKey{byte(1 + w.IntN(20))}, byte(w.IntN(20))
	return sign(w.t, a, r)
}

// forgedDelegation is a delegation as anybody may sign it.
func forgedDelegation(t testing.TB, a Admin, node config.NodeKey) []byte {
	t.Helper()
	body := append([]byte{statementVersion}, node[:]...)
	sig := a.sign(toSign(kindDelegation, a.network.ID(), body))
	return slices.Concat([]byte{byte(StatementDelegation)}, a.signer[:], sig, body)
}

// deliver gives a replica the statements in any order, in groups of any size.
func (w *world) deliver(r *replica, all [][]byte) {
	all = slices.Clone(all)
	w.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for len(all) > 0 {
		n := 1 + w.IntN(min(4, len(all)))
		r.take(w.t, all[:n]...)
		all = all[n:]
	}
}

// sync lets two replicas that differ tell each other what they have, as nodes
// do at the begin of a session. It says whether they differed.
func (w *world) sync(a, b *replica) bool {
	if bytes.Equal(a.Digest(), b.Digest()) {
		return false
	}
	ours, theirs := raws(a.Roster), raws(b.Roster)
	w.deliver(a, theirs)
	w.deliver(b, ours)
	return true
}

// TestReplicasAgree holds the property that the same statements, in any order
// and grouping, make the same roster. A delegate's statements that came before
// its delegation are dropped and come again with the next comparison.
func TestReplicasAgree(t *testing.T) {
	for seed := range uint64(150) {
		w := newWorld(t, seed)
		var all [][]byte
		for range 10 + w.IntN(30) {
			all = append(all, w.statement())
		}
		replicas := []*replica{newReplica(), newReplica(), newReplica()}
		for _, r := range replicas {
			some := slices.DeleteFunc(slices.Clone(all), func([]byte) bool { return w.IntN(3) == 0 })
			w.deliver(r, some)
		}
		w.deliver(replicas[w.IntN(3)], all) // so that each is known somewhere, unless it came too early
		w.quiesce(replicas)
		want := newReplica() // all at once
		want.take(t, all...)
		replicas = append(replicas, want)
		w.quiesce(replicas)
		for i, r := range replicas {
			if !slices.EqualFunc(raws(r.Roster), raws(want.Roster), bytes.Equal) || members(r.Roster) != members(want.Roster) ||
				!maps.Equal(r.Roster.revoked, want.Roster.revoked) || !maps.Equal(r.admins, want.admins) || !sameStatement(r.hubs, want.hubs) {
				t.Fatalf("seed %d, replica %d: members %s, want %s", seed, i, members(r.Roster), members(want.Roster))
			}
		}
		again := raws(want.Roster) // void statements do not come back
		w.deliver(want, all)
		if !slices.EqualFunc(again, raws(want.Roster), bytes.Equal) {
			t.Fatalf("seed %d: a repetition changes something", seed)
		}
	}
}

func sameStatement(a, b *Statement) bool {
	return a == b || a != nil && b != nil && a.hash == b.hash
}

// quiesce compares any two until all agree.
func (w *world) quiesce(replicas []*replica) {
	w.t.Helper()
	for range 20 {
		differ := false
		for i, a := range replicas {
			for _, b := range replicas[:i] {
				differ = w.sync(a, b) || differ
			}
		}
		if !differ {
			return
		}
	}
	w.t.Fatal("they do not come to an agreement")
}
