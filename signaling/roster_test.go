package signaling

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/p2ptun/p2ptun/config"
)

// brief is a record by what clashes: a host, whose node key begins with it,
// small numbers for the rest, 0 for the host's own, and who signs: 0 the
// network's key, else a delegate by number.
type brief struct {
	host, seq, name, ip, wg, seal, by byte
}

func (b brief) sign(t testing.TB) []byte {
	t.Helper()
	own := func(v byte) byte {
		if v == 0 {
			return b.host
		}
		return 100 + v
	}
	r, name := member(b.host), member(own(b.name)).Name
	r.Sequence, r.Name, r.IPv4 = uint64(1+b.seq), name, member(own(b.ip)).IPv4
	r.WireGuard, r.Sealing[0] = config.WireGuardKey{own(b.wg)}, own(b.seal)
	if b.by == 0 {
		return sign(t, root, r)
	}
	return sign(t, delegates[b.by-1].Admin, r)
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

func TestRosterClashes(t *testing.T) {
	for _, c := range []struct {
		name    string
		records []brief
		want    string
	}{
		{"none", []brief{{host: 11}, {host: 12}, {host: 13}}, "n11@11 n12@12 n13@13"},
		{"name: the lower node key", []brief{{host: 12, name: 9}, {host: 11, name: 9}}, "n109@11"},
		{"address", []brief{{host: 12, ip: 9}, {host: 11, ip: 9}}, "n11@109"},
		{"WireGuard key", []brief{{host: 12, wg: 9}, {host: 11, wg: 9}}, "n11@11"},
		{"sealing key", []brief{{host: 12, seal: 9}, {host: 11, seal: 9}}, "n11@11"},
		{"the network's before a delegate's", []brief{{host: 11, name: 9, by: 1}, {host: 12, name: 9}}, "n109@12"},
		{"the lower delegate's", []brief{{host: 11, name: 9, by: 2}, {host: 12, name: 9, by: 1}}, "n109@12"},
		{"the lower node key of one delegate's", []brief{{host: 12, name: 9, by: 1}, {host: 11, name: 9, by: 1}}, "n109@11"},
		{"the loser's loser stands", []brief{{host: 11, name: 8}, {host: 12, name: 8, ip: 9}, {host: 13, ip: 9}}, "n108@11 n13@109"},
		{"newer record", []brief{{host: 11, seq: 1}, {host: 11, seq: 2}}, "n11@11:3"},
		{"a delegate's newer record", []brief{{host: 11, seq: 1}, {host: 11, seq: 2, name: 9, by: 2}}, "n109@11:3"},
		{"as new: the network's", []brief{{host: 11}, {host: 11, name: 9, by: 1}}, "n11@11"},
		{"the winner takes another name", []brief{{host: 11, name: 9}, {host: 12, name: 9}, {host: 11, seq: 2}}, "n11@11:3 n109@12"},
		{"the loser takes another name", []brief{{host: 11, name: 9}, {host: 12, name: 9}, {host: 12, seq: 2}}, "n109@11 n12@12:3"},
		{"a newer record that loses", []brief{{host: 11, name: 9}, {host: 12}, {host: 12, seq: 2, name: 9}}, "n109@11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all [][]byte
			for _, b := range c.records {
				all = append(all, b.sign(t))
			}
			permute(all, func(order [][]byte) {
				r := founded(t)
				admins := len(r.Live(testTime))
				for _, raw := range order {
					merge(t, r, raw)
				}
				live := slices.DeleteFunc(r.Live(testTime), func(m *SignedRecord) bool { return r.IsAdmin(m.Node) })
				if got := show(live); got != c.want {
					t.Errorf("members %s, want %s", got, c.want)
				}
				if got := len(r.Live(testTime)) - len(live); got != admins {
					t.Errorf("%d admins are members, want %d", got, admins)
				}
			})
		})
	}
}

func TestRosterMerge(t *testing.T) {
	r := founded(t)
	d, stranger := delegates[0], nodeKey(9)
	first, second := member(11), member(11)
	second.Sequence = 2
	twin := second // the same sequence, another name
	twin.Name = "other"
	low, high := sign(t, d.Admin, second), sign(t, d.Admin, twin)
	if a, b := sha256.Sum256(low), sha256.Sum256(high); bytes.Compare(a[:], b[:]) > 0 {
		low, high = high, low
	}
	for _, c := range []struct {
		name  string
		raw   []byte
		taken bool
		want  error
	}{
		{"first", sign(t, d.Admin, first), true, nil},
		{"the very same", sign(t, d.Admin, first), false, nil},
		{"a stranger's", sign(t, DelegateAdmin(testNetwork.Public(), stranger), second), false, ErrVoid},
		{"another network's", sign(t, NetworkAdmin(config.NewNetworkKey()), second), false, ErrVoid},
		{"nothing", nil, false, errFormat},
		{"newer", high, true, nil},
		{"older", sign(t, d.Admin, first), false, nil},
		{"as new, of lower hash", low, true, nil},
		{"as new, of higher hash", high, false, nil},
	} {
		before := r.Digest()
		got := r.Merge(c.raw)
		if !errors.Is(got.Err, c.want) || c.want == nil && got.Err != nil || (len(got.Taken) == 1) != c.taken {
			t.Errorf("%s: %d taken, %v, want one taken: %v, %v", c.name, len(got.Taken), got.Err, c.taken, c.want)
		}
		if bytes.Equal(before, r.Digest()) == c.taken {
			t.Errorf("%s: the digest has changed: %v", c.name, !c.taken)
		}
	}
	if got, ok := r.Get(first.Node); !ok || !bytes.Equal(got.Bytes(), low) {
		t.Errorf("member: %v, %v", got, ok)
	}
	if got, ok := r.ByName("nobody"); ok {
		t.Errorf("nobody is %v", got)
	}
	if got, ok := r.Get(config.NodeKey{9}); ok {
		t.Errorf("an unknown node is %v", got)
	}
	if c := r.Merge(nil, sign(t, root, member(12))); c.Err == nil || len(c.Added) != 1 {
		t.Errorf("a bad statement spoils a good one: %+v", c)
	}
}

// One call takes its statements in any order, as what a keeper or a hub sends
// may come in any.
func TestMergeOrdersWhatComesTogether(t *testing.T) {
	d := delegates[0]
	together := [][]byte{
		sign(t, d.Admin, member(11)), hubList(t, d.Admin, 3, 99), revoke(t, d.Admin, config.NodeKey{12}),
		sign(t, root, member(12)), delegate(t, d.node()),
	}
	permute(together, func(order [][]byte) {
		r := NewRoster(testNetwork.Public())
		if c := r.Merge(order...); c.Err != nil || len(c.Taken) != len(order) {
			t.Fatalf("%d of %d taken, %v", len(c.Taken), len(order), c.Err)
		}
		if members(r) != "n11@11" || !r.IsRevoked(config.NodeKey{12}) || r.Hubs().Sequence != 3 {
			t.Fatalf("members %s, hubs %v", members(r), r.Hubs())
		}
	})
}

func TestRosterLive(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	r := NewRoster(testNetwork.Public())
	for i, expires := range []time.Time{{}, now.Add(time.Second), now} {
		rec := member(byte(13 - i))
		rec.Expires = expires
		merge(t, r, sign(t, root, rec))
	}
	live := r.Live(now)
	if got := show(live); got != "n12@12 n13@13" || live[0].Name != "n12" {
		t.Errorf("live %s, want those by name: n12 n13", got)
	}
	if got := show(r.Records()); got != "n11@11 n12@12 n13@13" {
		t.Errorf("records %s, want the expired one, too", got)
	}
}

// Proof is what an unknowing roster takes the node for a member by.
func TestProof(t *testing.T) {
	r := founded(t)
	merge(t, r, sign(t, root, member(11)), sign(t, delegates[1].Admin, member(12)), sign(t, delegates[2].Admin, member(13)))
	merge(t, r, revoke(t, delegates[0].Admin, config.NodeKey{13}))
	for host, want := range map[byte]int{11: 1, 12: 2, 13: 0, 14: 0} {
		node := config.NodeKey{host}
		proof := r.Proof(node)
		if len(proof) != want || len(proof) > MaxProof {
			t.Errorf("host %d: %d statements, want %d", host, len(proof), want)
		}
		fresh := NewRoster(testNetwork.Public())
		merge(t, fresh, proof...)
		if _, ok := fresh.Get(node); ok != (want > 0) {
			t.Errorf("host %d: its proof makes it a member: %v", host, ok)
		}
	}
}

// Revocation is shown to who may know nothing but the network's key.
func TestRevocation(t *testing.T) {
	d := delegates[2]
	victim, plain := delegates[0].node(), config.NodeKey{11}
	for range 20 { // maps have a random order
		r := founded(t)
		merge(t, r, sign(t, root, member(11)), revoke(t, d.Admin, plain), revoke(t, d.Admin, victim))
		if got := r.Revocation(victim); got != nil {
			t.Fatal("a delegate's word against an admin is shown as a revocation")
		}
		if got := r.Revocation(plain); !bytes.Equal(got, revoke(t, d.Admin, plain)) {
			t.Fatalf("shows %x", got)
		}
		merge(t, r, revoke(t, root, plain), revoke(t, root, victim))
		for _, node := range []config.NodeKey{plain, victim} {
			if got := r.Revocation(node); !bytes.Equal(got, revoke(t, root, node)) {
				t.Fatalf("of %v not the network key's is shown", node)
			}
		}
	}
	if got := founded(t).Revocation(config.NodeKey{99}); got != nil {
		t.Errorf("of nobody: %x", got)
	}
}
