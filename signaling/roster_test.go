package signaling

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// brief is a record by what clashes: a node key that begins with node, and
// small numbers for the rest, 0 for one of the node's own.
type brief struct {
	node, seq, name, ip, wg, seal, replaces byte
}

func (b brief) sign(t testing.TB) *SignedRecord {
	t.Helper()
	own := func(v byte) byte {
		if v == 0 {
			return 100 + b.node
		}
		return v
	}
	r := Record{
		Node: config.NodeKey{b.node}, Sequence: uint64(b.seq), Name: fmt.Sprintf("n%d", own(b.name)),
		IPv4: netip.AddrFrom4([4]byte{10, 77, 0, own(b.ip)}), WireGuard: config.WireGuardKey{own(b.wg)},
		Replaces: config.NodeKey{b.replaces},
	}
	r.Sealing[0] = own(b.seal)
	rec, err := SignRecord(testNetwork, r)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// show is the members, as node:sequence.
func show(members []*SignedRecord) string {
	var s []string
	for _, m := range members {
		s = append(s, fmt.Sprintf("%d:%d", m.Node[0], m.Sequence))
	}
	slices.Sort(s)
	return strings.Join(s, " ")
}

func TestRosterClashes(t *testing.T) {
	for _, c := range []struct {
		name    string
		records []brief
		want    string
	}{
		{"none", []brief{{node: 1}, {node: 2}, {node: 3}}, "1:0 2:0 3:0"},
		{"name: the lower node key", []brief{{node: 2, name: 9}, {node: 1, name: 9}}, "1:0"},
		{"address", []brief{{node: 2, ip: 9}, {node: 1, ip: 9}}, "1:0"},
		{"WireGuard key", []brief{{node: 2, wg: 9}, {node: 1, wg: 9}}, "1:0"},
		{"sealing key", []brief{{node: 2, seal: 9}, {node: 1, seal: 9}}, "1:0"},
		{"replaces before the lower key", []brief{{node: 1, name: 9}, {node: 2, name: 9, replaces: 1}}, "2:0"},
		{"replaces somebody else", []brief{{node: 1, name: 9}, {node: 2, name: 9, replaces: 3}}, "1:0"},
		{"replaces without a clash", []brief{{node: 1}, {node: 2, replaces: 1}}, "1:0 2:0"},
		{"each replaces the other", []brief{{node: 2, name: 9, replaces: 1}, {node: 1, name: 9, replaces: 2}}, "1:0"},
		{"a ring", []brief{{node: 1, name: 9, replaces: 2}, {node: 2, name: 9, replaces: 3}, {node: 3, name: 9, replaces: 1}}, "2:0"},
		{"replaces the winner among more", []brief{{node: 1, name: 9}, {node: 2, name: 9}, {node: 3, name: 9, replaces: 1}}, "3:0"},
		{"the loser's loser stands", []brief{{node: 1, name: 8}, {node: 2, name: 8, ip: 9}, {node: 3, ip: 9}}, "1:0 3:0"},
		{"newer record", []brief{{node: 1, seq: 1}, {node: 1, seq: 2}}, "1:2"},
		{"the winner takes another name", []brief{{node: 1, seq: 1, name: 9}, {node: 2, name: 9}, {node: 1, seq: 2}}, "1:2 2:0"},
		{"the loser takes another name", []brief{{node: 1, name: 9}, {node: 2, seq: 1, name: 9}, {node: 2, seq: 2}}, "1:0 2:2"},
		{"a newer record that loses", []brief{{node: 1, name: 9}, {node: 2, seq: 1}, {node: 2, seq: 2, name: 9}}, "1:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var raws [][]byte
			for _, b := range c.records {
				raws = append(raws, b.sign(t).Bytes())
			}
			permute(raws, func(order [][]byte) {
				r := NewRoster(testNetwork.Public())
				for _, raw := range order {
					merge(t, r, raw)
				}
				if got := show(r.Live(time.Now())); got != c.want {
					t.Errorf("members %s, want %s", got, c.want)
				}
			})
		})
	}
}

func permute(s [][]byte, f func([][]byte)) {
	var rec func(int)
	rec = func(k int) {
		if k == len(s) {
			f(s)
			return
		}
		for i := k; i < len(s); i++ {
			s[k], s[i] = s[i], s[k]
			rec(k + 1)
			s[k], s[i] = s[i], s[k]
		}
	}
	rec(0)
}

func merge(t testing.TB, r *Roster, raw []byte) Change {
	t.Helper()
	c, err := r.Merge(raw)
	if err != nil && !errors.Is(err, ErrOutdated) {
		t.Fatal(err)
	}
	return c
}

// TestRosterOrder holds the property that the same records, in any order, make
// the same roster, and that the changes told along the way add up to it.
func TestRosterOrder(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		few := func(n int) byte { return byte(rng.IntN(n)) }
		var raws [][]byte
		for range 4 + rng.IntN(8) {
			b := brief{node: 1 + few(6), seq: few(3), name: few(4), ip: few(5), wg: few(8), seal: few(8), replaces: few(7)}
			raws = append(raws, b.sign(t).Bytes())
		}
		var want *Roster
		for range 6 {
			rng.Shuffle(len(raws), func(i, j int) { raws[i], raws[j] = raws[j], raws[i] })
			got := NewRoster(testNetwork.Public())
			told := make(map[config.NodeKey]*SignedRecord)
			for _, raw := range raws {
				follow(t, told, merge(t, got, raw))
			}
			if !maps.Equal(told, got.members) {
				t.Fatalf("seed %d: the changes make %s, the roster has %s", seed, show(slices.Collect(maps.Values(told))), show(got.Live(time.Now())))
			}
			checkUnique(t, got)
			if want == nil {
				want = got
			}
			if a, b := show(got.Live(time.Now())), show(want.Live(time.Now())); a != b {
				t.Fatalf("seed %d: members %s in one order, %s in another", seed, a, b)
			}
			if !bytes.Equal(got.Digest(), want.Digest()) || !slices.EqualFunc(got.All(), want.All(), bytes.Equal) {
				t.Fatalf("seed %d: digest or records depend on the order", seed)
			}
		}
	}
}

// follow keeps told as somebody would who sees only the changes.
func follow(t *testing.T, told map[config.NodeKey]*SignedRecord, c Change) {
	t.Helper()
	for _, m := range c.Removed {
		if told[m.Node] != m {
			t.Fatalf("removed %s, which was no member", show([]*SignedRecord{m}))
		}
		delete(told, m.Node)
	}
	for _, m := range c.Added {
		if told[m.Node] != nil {
			t.Fatalf("added %s over an older record that was not removed", show([]*SignedRecord{m}))
		}
		told[m.Node] = m
	}
}

// checkUnique finds members that clash, and records that lost to nobody.
func checkUnique(t *testing.T, r *Roster) {
	t.Helper()
	for _, rec := range r.known {
		clashes := 0
		for _, m := range r.members {
			if clash(&rec.Record, &m.Record) {
				clashes++
			}
		}
		if clashes != 1 { // a member clashes with itself
			_, member := r.Get(rec.Node)
			if member || clashes == 0 {
				t.Fatalf("%s, member %v, clashes with %d members", show([]*SignedRecord{rec}), member, clashes)
			}
		}
	}
}

func TestRosterMerge(t *testing.T) {
	r := NewRoster(testNetwork.Public())
	one, two := brief{node: 1, seq: 1}.sign(t), brief{node: 1, seq: 2}.sign(t)
	other, err := SignRecord(config.NewNetworkKey(), two.Record)
	if err != nil {
		t.Fatal(err)
	}
	same := two.Record // the same sequence, another name
	same.Name = "other"
	twin, err := SignRecord(testNetwork, same)
	if err != nil {
		t.Fatal(err)
	}
	low, high := two, twin
	if h, o := two.Hash(), twin.Hash(); bytes.Compare(h[:], o[:]) > 0 {
		low, high = high, low
	}
	for _, c := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"first", one.Bytes(), nil},
		{"the very same", one.Bytes(), ErrOutdated},
		{"another network's", other.Bytes(), ErrSignature},
		{"nothing", nil, ErrSignature},
		{"newer", high.Bytes(), nil},
		{"older", one.Bytes(), ErrOutdated},
		{"as new, of lower hash", low.Bytes(), nil},
		{"as new, of higher hash", high.Bytes(), ErrOutdated},
	} {
		if _, err := r.Merge(c.raw); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if got, ok := r.ByName(low.Name); !ok || got.Hash() != low.Hash() {
		t.Errorf("by name: %v, %v", got, ok)
	}
	if got, ok := r.ByName("nobody"); ok {
		t.Errorf("nobody is %v", got)
	}
	if got, ok := r.Get(config.NodeKey{9}); ok {
		t.Errorf("an unknown node is %v", got)
	}
}

func TestRosterClashIsTold(t *testing.T) {
	r := NewRoster(testNetwork.Public())
	winner, loser := brief{node: 1, name: 9}.sign(t), brief{node: 2, name: 9}.sign(t)
	merge(t, r, winner.Bytes())
	c := merge(t, r, loser.Bytes())
	if c.Clash == nil || len(c.Added)+len(c.Removed) != 0 {
		t.Errorf("the loser came as %+v", c)
	}
	if !r.knows(loser.Node) || len(r.All()) != 2 {
		t.Error("the loser is not kept")
	}
}

func TestRosterLive(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	r := NewRoster(testNetwork.Public())
	for i, expires := range []time.Time{{}, now.Add(time.Second), now} {
		rec := brief{node: byte(3 - i)}.sign(t).Record
		rec.Expires = expires
		signed, err := SignRecord(testNetwork, rec)
		if err != nil {
			t.Fatal(err)
		}
		merge(t, r, signed.Bytes())
	}
	live := r.Live(now)
	if got := show(live); got != "2:0 3:0" || live[0].Node[0] != 2 {
		t.Errorf("live %s, want those by name: 2:0 3:0", got)
	}
}
